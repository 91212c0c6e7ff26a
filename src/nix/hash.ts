// Hashes as they are met in the field: nix32, hex, base64 and SRI all become one spelling, so that equal digests are equal strings.

import { decodeBase32, encodeBase32 } from './base32.ts'
import { decodeBase64 } from './base64.ts'

/**
 * A SHA-256 digest: 52 letters of nix32 without prefix. 52 letters hold 260 bits, so the first one is `0` or `1`.
 * `0zsjccqyvyl2n468sbd7z9r8kjrzlgvdsk7fiai6vdvzdc2ssskg`
 */
export type Sha256 = string & { readonly brand: 'Sha256' }

/** The algorithms that Nix knows, with the bytes of their digests. */
const digestLengths = { md5: 16, sha1: 20, sha256: 32, sha512: 64, blake3: 32 } as const
export type HashAlgorithm = keyof typeof digestLengths

const canonical = /^[01][0-9a-df-np-sv-z]{51}$/
const hex = /^[0-9a-fA-F]+$/

/** Whether a text is a digest in our one spelling: nix32, no prefix. */
export function isSha256(text: string): text is Sha256 {
  return canonical.test(text)
}

/**
 * Reads `sha256:<nix32>`, `sha256:<hex of any case>`, `sha256:<base64>` or SRI `sha256-<base64>`. Undefined for everything else:
 * another algorithm, another length, or a spelling with spare bits set (two texts would name one digest).
 */
export function parseSha256(text: string): Sha256 | undefined {
  const plain = text.slice('sha256:'.length)
  if (isSha256(plain) && text.startsWith('sha256:')) return plain // what nearly everybody writes
  const hash = parseHash(text)
  return hash?.algorithm === 'sha256' ? sha256FromDigest(hash.digest) : undefined
}

/** The one spelling of a digest of 32 bytes. Any other length is a mistake of the caller, and throws a TypeError. */
export function sha256FromDigest(digest: Uint8Array): Sha256 {
  const text = encodeBase32(digest)
  if (!isSha256(text)) throw new TypeError(`a sha256 digest has 32 bytes, not ${digest.length}`)
  return text
}

/** The 32 bytes of a digest. */
export function sha256Digest(hash: Sha256): Uint8Array {
  const digest = decodeBase32(hash)
  if (!digest) throw new TypeError(`not a sha256 in nix32: ${hash}`)
  return digest
}

/** A hash of any algorithm that Nix knows, in any of the spellings of `parseSha256`. Undefined for everything else. */
export function parseHash(
  text: string,
): { readonly algorithm: HashAlgorithm; readonly digest: Uint8Array } | undefined {
  const [, algorithm = '', separator, rest = ''] = /^([a-z0-9]+)([:-])(.*)$/.exec(text) ?? []
  if (!isHashAlgorithm(algorithm)) return undefined
  const digest = separator === '-' ? decodeBase64(rest, digestLengths[algorithm]) : parseDigest(algorithm, rest)
  return digest && { algorithm, digest }
}

function isHashAlgorithm(text: string): text is HashAlgorithm {
  return Object.hasOwn(digestLengths, text)
}

/** The digest alone; its length tells the three spellings apart, as in Nix. */
function parseDigest(algorithm: HashAlgorithm, text: string): Uint8Array | undefined {
  const length = digestLengths[algorithm]
  if (text.length === length * 2) return hex.test(text) ? Buffer.from(text, 'hex') : undefined
  if (text.length === Math.ceil((length * 8) / 5)) return decodeBase32(text)
  return text.length === Math.ceil(length / 3) * 4 ? decodeBase64(text, length) : undefined
}
