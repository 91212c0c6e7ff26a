// The names that narinfos give to compressions, and the file name endings that go with them.

// Every name that a Nix client accepts; current ones refuse a narinfo with any other word. The endings of xz, bzip2, zstd, lzip,
// lz4 and br are the ones that Nix writes. All are lower case: some file systems cannot tell `.Z` from `.z`.
const extensions = {
  none: '',
  xz: '.xz',
  zstd: '.zst',
  bzip2: '.bz2',
  gzip: '.gz',
  br: '.br',
  lzip: '.lzip',
  lz4: '.lz4',
  lzma: '.lzma',
  compress: '.z',
  grzip: '.grz',
  lrzip: '.lrz',
  lzop: '.lzo',
} as const

export type Compression = keyof typeof extensions

/** What we can decompress ourselves, so that NarHash can be checked. */
export type Decodable = 'none' | 'xz' | 'zstd' | 'gzip' | 'br'

/** Reads the value of a Compression line. No value means bzip2, as it always has in Nix; undefined for an unknown word. */
export function parseCompression(text: string): Compression | undefined {
  if (text === '') return 'bzip2'
  return isCompression(text) ? text : undefined
}

/** What follows `.nar` in a file name: `.xz`, `.zst` …, and nothing for none. */
export function extensionOf(compression: Compression): string {
  return extensions[compression]
}

/** The compression whose ending this is, with its dot; undefined for an ending that we never give. */
export function compressionOfExtension(extension: string): Compression | undefined {
  return byExtension.get(extension)
}

/** Whether NarHash can be checked for a NAR of this compression. */
export function isDecodable(compression: Compression): compression is Decodable {
  return ['none', 'xz', 'zstd', 'gzip', 'br'].includes(compression)
}

/** Whether a peer may give us a NAR of this compression: what peers send is always checked, and the check must be cheap. */
export function isTakenFromPeers(compression: Compression): boolean {
  return compression === 'none' || compression === 'xz' || compression === 'zstd'
}

function isCompression(text: string): text is Compression {
  return Object.hasOwn(extensions, text)
}

const byExtension = new Map(
  Object.keys(extensions)
    .filter(isCompression)
    .map((compression) => [extensions[compression] as string, compression]),
)
