// What a Nix client makes of our answers: a second reader of its formats, written after nar-info.cc and http-binary-cache-store.cc
// (2.8 to 2.35) and knowing nothing of src/nix.

export interface NixNarInfo {
  readonly path: string
  readonly url: string
  readonly compression: string
  readonly narHash: string
  readonly narSize: bigint
  readonly fileSize: bigint
  readonly references: readonly string[]
  readonly deriver: string | undefined
  readonly signatures: readonly string[]
}

const letter = '[0-9a-df-np-sv-z]'
const baseName = new RegExp(`^${letter}{32}-[0-9a-zA-Z+\\-._?=]{1,211}$`)
const hash = /^(?:sha256:(?:[0-9a-df-np-sv-z]{52}|[0-9a-fA-F]{64}|[A-Za-z0-9+/]{43}=)|sha256-[A-Za-z0-9+/]{43}=)$/
const compressions = new Set([
  'none',
  'xz',
  'bzip2',
  'gzip',
  'zstd',
  'br',
  'lzip',
  'lz4',
  'lzma',
  'compress',
  'grzip',
  'lrzip',
  'lzop',
])

/** Throws where Nix says that a narinfo is corrupt, and ends its command. */
export function nixReadsNarInfo(text: string): NixNarInfo {
  const said = new Map<string, string>()
  const signatures: string[] = []
  let references: readonly string[] = []
  for (let at = 0; at < text.length;) {
    const colon = text.indexOf(':', at)
    if (colon < 0) throw new Error('expecting :')
    // Nix looks for the end from the second character after the colon on, whatever stands before it.
    const end = text.indexOf('\n', colon + 2)
    if (end < 0) throw new Error('expecting a newline')
    const [key, value] = [text.slice(at, colon), text.slice(colon + 2, end)]
    if (key === 'Sig') signatures.push(value)
    if (key === 'References') {
      if (references.length > 0) throw new Error('extra References')
      references = value.split(' ').filter((one) => one !== '')
    }
    if (key === 'CA' && said.has('CA')) throw new Error('extra CA')
    said.set(key, value)
    at = end + 1
  }
  const path = said.get('StorePath') ?? ''
  const deriver = said.get('Deriver')
  if (!path.startsWith('/nix/store/') || !baseName.test(path.slice(11))) throw new Error('bad StorePath')
  for (const one of [...references, ...(deriver === undefined || deriver === 'unknown-deriver' ? [] : [deriver])]) {
    if (!baseName.test(one)) throw new Error(`bad base name ${one}`)
  }
  const compression = said.get('Compression') || 'bzip2'
  if (!compressions.has(compression)) throw new Error('unknown compression')
  const narHash = said.get('NarHash') ?? ''
  const fileHash = said.get('FileHash')
  if (!hash.test(narHash) || (fileHash !== undefined && !hash.test(fileHash))) throw new Error('bad hash')
  for (const one of signatures) {
    if (!/^[^:]+:[A-Za-z0-9+/]{86}(?:==)?$/.test(one)) throw new Error(`bad signature ${one}`)
  }
  const narSize = size(said.get('NarSize') ?? '0')
  const url = said.get('URL') ?? ''
  if (url === '' || narSize === 0n) throw new Error('no URL or NarSize')
  const fileSize = size(said.get('FileSize') ?? '0')
  return { path, url, compression, narHash, narSize, fileSize, references, deriver, signatures }
}

/** What Nix takes from a nix-cache-info. Throws where its command ends. */
export function nixReadsCacheInfo(
  text: string,
): Readonly<Record<'StoreDir' | 'WantMassQuery' | 'Priority', string | undefined>> {
  const said: Record<string, string> = {}
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':')
    if (colon >= 0) said[line.slice(0, colon)] = line.slice(colon + 1).replace(/^[ \n\r\t]+|[ \n\r\t]+$/g, '')
  }
  const { StoreDir, WantMassQuery, Priority } = said
  if (Priority !== undefined && (!/^[0-9]+$/.test(Priority) || Number(Priority) > 2 ** 31 - 1))
    throw new Error('std::stoi')
  return { StoreDir, WantMassQuery, Priority }
}

/** string2Int<uint64_t>. */
function size(text: string): bigint {
  if (!/^[0-9]+$/.test(text) || BigInt(text) >= 2n ** 64n) throw new Error(`bad size ${text}`)
  return BigInt(text)
}
