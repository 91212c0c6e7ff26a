// Who vouches for a narinfo: keys, signatures, the text that is signed, and the check of one against the other.
//
// Checking is done by node:crypto (127 µs against 1753 µs), making keys and signing by @noble/ed25519.

import { createPublicKey, verify, type KeyObject } from 'node:crypto'

import { getPublicKey, hashes, Point, sign as signBytes, utils } from '@noble/ed25519'
import { sha512 } from '@noble/hashes/sha2.js'

import { ProxyError } from '../errors.ts'
import { decodeBase64 } from './base64.ts'
import type { NarInfo } from './narinfo.ts'

// What @noble/ed25519 needs in order to work without promises.
hashes.sha512 = sha512

const keyLength = 32
const signatureLength = 64

/** Signatures of one narinfo that are checked at most: a hostile one could have thousands under a trusted name. */
const mostChecked = 32

/** The value of one Sig line: `cache1.example.org-1:hJPOeo49…BQ==` */
export interface Signature {
  readonly keyName: string
  /** 64 bytes: R, then S. */
  readonly bytes: Uint8Array
  /** As it came. */
  readonly line: string
}

export interface TrustedKey {
  readonly name: string
  /** 32 bytes. */
  readonly raw: Uint8Array
  /** The same, as node:crypto wants it. */
  readonly key: KeyObject
}

/** No keys at all mean that nobody is asked to vouch. Of several keys with one name the first counts, as in Nix. */
export type TrustedKeys = readonly TrustedKey[]

export interface SecretKey {
  readonly name: string
  /** 32 bytes from which everything else follows (RFC 8032). */
  readonly seed: Uint8Array
  /** 32 bytes. */
  readonly publicKey: Uint8Array
}

/**
 * Reads the value of a Sig line. Undefined when it is malformed (no name, bad base64, not 64 bytes): new clients refuse a narinfo
 * with such a line, and old ones do when the name is one they trust.
 */
export function parseSignature(text: string): Signature | undefined {
  const named = parseNamed(text, signatureLength)
  return named && { keyName: named.name, bytes: named.bytes, line: text }
}

/**
 * Reads `name:base64(32 bytes)`, as in Nix's trusted-public-keys; white space and a byte order mark around it are no matter. Throws
 * ProxyError('bad-config') when it is no key, also when no honest key generator can have made it.
 */
export function parsePublicKey(text: string): TrustedKey {
  const named = parseKey(text, keyLength, 'public key')
  const fault = faultOfPublicKey(named.bytes)
  if (fault) throw new ProxyError('bad-config', `public key ${named.name}: ${fault}`)
  const x = Buffer.from(named.bytes).toString('base64url')
  const key = createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x } })
  return { name: named.name, raw: named.bytes, key }
}

/** Writes a public key for trusted-public-keys: `name:base64(32 bytes)`. */
export function printPublicKey(key: SecretKey): string {
  return `${key.name}:${Buffer.from(key.publicKey).toString('base64')}`
}

/** Makes a new key. The name must have neither colon nor white space, else ProxyError('bad-config'). */
export function makeSecretKey(name: string): SecretKey {
  if (!/^[^:\s]+$/.test(name))
    throw new ProxyError('bad-config', `secret key: ${JSON.stringify(name)} is no name for a key`)
  const seed = utils.randomSecretKey()
  return { name, seed, publicKey: getPublicKey(seed) }
}

/**
 * Reads Nix's secret key file: `name:base64(seed and public key, 32 bytes each)`. Throws ProxyError('bad-config') when it is none,
 * without quoting it.
 */
export function parseSecretKey(text: string): SecretKey {
  const named = parseKey(text, 2 * keyLength, 'secret key')
  const seed = named.bytes.subarray(0, keyLength)
  const publicKey = getPublicKey(seed)
  if (Buffer.compare(publicKey, named.bytes.subarray(keyLength)) !== 0) {
    throw new ProxyError('bad-config', `secret key ${named.name}: its two halves do not belong together`)
  }
  return { name: named.name, seed, publicKey }
}

/** Writes a secret key as Nix's `--generate-binary-cache-key` does: `name:base64(seed and public key)`. */
export function printSecretKey(key: SecretKey): string {
  return `${key.name}:${Buffer.concat([key.seed, key.publicKey]).toString('base64')}`
}

/** Signs a text (UTF-8) and gives the value of a Sig line. */
export function sign(secret: SecretKey, message: string): string {
  return `${secret.name}:${Buffer.from(signBytes(Buffer.from(message), secret.seed)).toString('base64')}`
}

/**
 * The text that is signed: `1;<store path>;sha256:<nix32>;<NarSize>;<references>`, the references as full paths, sorted, joined by
 * commas. Everything else in a narinfo is the sender's word.
 */
export function fingerprint(info: Pick<NarInfo, 'storePath' | 'narHash' | 'narSize' | 'references'>): string {
  const { path, dir } = info.storePath
  const references = [...new Set(info.references)].sort().map((reference) => `${dir}/${reference}`)
  return `1;${path};sha256:${info.narHash};${info.narSize};${references.join(',')}`
}

/**
 * Name of the key whose signature holds; the narinfo's signatures are tried in their order. Undefined when none does. The work is
 * done in the thread pool, about 130 µs a signature; a signature under a name that is not trusted costs nothing.
 */
export async function verifiedBy(info: NarInfo, keys: TrustedKeys): Promise<string | undefined> {
  const candidates = info.signatures.flatMap((signature) => {
    const key = keys.find(({ name }) => name === signature.keyName)
    return key ? [{ key, signature }] : []
  })
  if (candidates.length === 0) return undefined
  const message = Buffer.from(fingerprint(info))
  for (const { key, signature } of candidates.slice(0, mostChecked)) {
    if (await holds(message, key, signature)) return key.name
  }
  return undefined
}

function holds(message: Uint8Array, key: TrustedKey, signature: Signature): Promise<boolean> {
  return new Promise((resolve, reject) => {
    verify(null, message, key.key, signature.bytes, (error, good) => {
      if (error) reject(error)
      else resolve(good)
    })
  })
}

/**
 * What is wrong with the 32 bytes of a public key. OpenSSL takes any bytes, and would accept forged signatures for some of them
 * (points of small order), which libsodium, and so Nix, refuses. No seed leads to a key outside the main subgroup.
 */
function faultOfPublicKey(raw: Uint8Array): string | undefined {
  let point: Point
  try {
    point = Point.fromBytes(raw)
  } catch {
    return 'not a point of the curve'
  }
  if (point.isSmallOrder()) return 'a point of small order, for which anybody can sign'
  return point.isTorsionFree() ? undefined : 'a point outside the main subgroup'
}

function parseKey(text: string, length: number, what: string): { readonly name: string; readonly bytes: Uint8Array } {
  const trimmed = text.trim() // of the byte order mark too
  const named = parseNamed(trimmed, length)
  if (named && !/\s/.test(named.name)) return named
  const colon = trimmed.indexOf(':')
  // Never the text itself: it may be a secret, in the wrong place or not.
  throw new ProxyError(
    'bad-config',
    colon > 0 && !/\s/.test(trimmed.slice(0, colon))
      ? `${what} ${trimmed.slice(0, colon)}: what follows the colon is not ${length} bytes in base64`
      : `${what}: not of the form name:base64`,
  )
}

/** Reads `name:base64` with exactly so many bytes. */
function parseNamed(text: string, length: number): { readonly name: string; readonly bytes: Uint8Array } | undefined {
  const colon = text.indexOf(':')
  if (colon < 1) return undefined
  const bytes = decodeBase64(text.slice(colon + 1), length)
  return bytes && { name: text.slice(0, colon), bytes }
}
