// Store paths: `/nix/store/sp69qifh9883ihs597ic0b4l257lv18n-demo-2` is the hash `sp69…` and the name `demo-2` in `/nix/store`.

/** The hash part of a store path: 32 letters of nix32 (160 bits). It alone identifies the path. */
export type StoreHash = string & { readonly brand: 'StoreHash' }

export interface StorePath {
  /** All of it: `<dir>/<hash>-<name>`. */
  readonly path: string
  /** The store directory without a final slash. */
  readonly dir: string
  readonly hash: StoreHash
  readonly name: string
}

const hashLength = 32
const hashPattern = /^[0-9a-df-np-sv-z]{32}$/
// Nix: 1 to 211 characters, neither `.` nor `..`, and not beginning with one of these and a dash.
const namePattern = /^(?!\.\.?(?:-|$))[0-9a-zA-Z+\-._?=]{1,211}$/

/** Whether a text is the hash part of a store path. */
export function isStoreHash(text: string): text is StoreHash {
  return hashPattern.test(text)
}

/** Whether a text is `<hash>-<name>` by Nix's rules: what stands in References and Deriver. */
export function isBaseName(text: string): boolean {
  return parseBaseName(text) !== undefined
}

/** Reads a full store path that lies directly in `storeDir` (no final slash); undefined for everything else. */
export function parseStorePath(text: string, storeDir: string): StorePath | undefined {
  if (!text.startsWith(storeDir) || text.charAt(storeDir.length) !== '/') return undefined
  const base = parseBaseName(text.slice(storeDir.length + 1))
  return base && { path: text, dir: storeDir, hash: base.hash, name: base.name }
}

function parseBaseName(text: string): { readonly hash: StoreHash; readonly name: string } | undefined {
  const hash = text.slice(0, hashLength)
  const name = text.slice(hashLength + 1)
  if (text.charAt(hashLength) !== '-' || !isStoreHash(hash) || !namePattern.test(name)) return undefined
  return { hash, name }
}
