// Store paths that follow from their content: the value of a CA line, and whether it leads to the path that it stands beside.

import { createHash } from 'node:crypto'

import { encodeBase32 } from './base32.ts'
import { parseHash, sha256Digest, type HashAlgorithm } from './hash.ts'
import type { NarInfo } from './narinfo.ts'

/**
 * `text:sha256:…` (what derivations and toFile make), `fixed:sha256:…` (one file, hashed flat), `fixed:r:sha256:…` (hashed as a
 * NAR), `fixed:git:sha1:…` (hashed as a git tree).
 */
export interface ContentAddress {
  readonly method: 'text' | 'flat' | 'nar' | 'git'
  readonly algorithm: HashAlgorithm
  readonly digest: Uint8Array
}

const pattern = /^(text|fixed:r|fixed:git|fixed):([a-z0-9]+:.+)$/
const methods = { text: 'text', fixed: 'flat', 'fixed:r': 'nar', 'fixed:git': 'git' } as const

/** Reads the value of a CA line; undefined when it is none, or of an algorithm that Nix does not allow there. */
export function parseContentAddress(text: string): ContentAddress | undefined {
  const [, prefix = '', rest = ''] = pattern.exec(text) ?? []
  const hash = parseHash(rest)
  if (!hash || !isPrefix(prefix)) return undefined
  const method = methods[prefix]
  if (method === 'text' && hash.algorithm !== 'sha256') return undefined
  if (method === 'git' && hash.algorithm !== 'sha1' && hash.algorithm !== 'sha256') return undefined
  return { method, ...hash }
}

/**
 * Whether a narinfo has a CA from which its store path follows, so that nobody needs to sign it. Where the CA is the hash of the
 * NAR itself, NarHash must be that hash. In the other cases (text, flat, git, another algorithm, a path that refers to itself) the
 * CA says what the content must be in a way that NarHash cannot be compared with; there a client checks the content once more.
 */
export function provesItsPath(info: NarInfo): boolean {
  const address = info.ca === undefined ? undefined : parseContentAddress(info.ca)
  if (!address) return false
  const { dir, path, hash, name } = info.storePath
  const self = `${hash}-${name}`
  const refersToItself = info.references.includes(self)
  const others = [...new Set(info.references)].filter((reference) => reference !== self).sort()
  const referenced = others.map((reference) => `:${dir}/${reference}`).join('')

  if (address.method === 'text') {
    return !refersToItself && path === makePath(`text${referenced}`, address.digest, dir, name)
  }
  if (address.method === 'nar' && address.algorithm === 'sha256') {
    if (!refersToItself && Buffer.compare(address.digest, sha256Digest(info.narHash)) !== 0) return false
    return path === makePath(`source${referenced}${refersToItself ? ':self' : ''}`, address.digest, dir, name)
  }
  if (info.references.length > 0) return false // Nix has no path for these
  const how = { flat: '', nar: 'r:', git: 'git:' }[address.method]
  const digest = sha256(`fixed:out:${how}${address.algorithm}:${Buffer.from(address.digest).toString('hex')}:`)
  return path === makePath('output:out', digest, dir, name)
}

/**
 * Whether such a CA also fixes the bytes of the NAR: it is the hash of the NAR itself. Only then can a NAR be held to it without
 * anybody's signature, before a client has unpacked it.
 */
export function provesItsNar(info: NarInfo): boolean {
  const address = info.ca === undefined ? undefined : parseContentAddress(info.ca)
  const self = `${info.storePath.hash}-${info.storePath.name}`
  const isNarHash = address?.method === 'nar' && address.algorithm === 'sha256' && !info.references.includes(self)
  return isNarHash && provesItsPath(info)
}

/** Nix's makeStorePath: the sha256 of `<type>:sha256:<hex>:<store dir>:<name>`, folded to 160 bits, is the path's hash. */
function makePath(type: string, digest: Uint8Array, dir: string, name: string): string {
  const whole = sha256(`${type}:sha256:${Buffer.from(digest).toString('hex')}:${dir}:${name}`)
  const folded = new Uint8Array(20)
  for (const [i, byte] of whole.entries()) folded[i % 20] = (folded[i % 20] ?? 0) ^ byte
  return `${dir}/${encodeBase32(folded)}-${name}`
}

function sha256(text: string): Uint8Array {
  return createHash('sha256').update(text).digest()
}

function isPrefix(text: string): text is keyof typeof methods {
  return Object.hasOwn(methods, text)
}
