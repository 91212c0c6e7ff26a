// A binary cache made up in memory: store paths with real NARs, right hashes, and narinfos signed by a key of its own.
//
//   const cache = new SyntheticCache()
//   const hello = cache.add({ name: 'hello', content: randomBytes(100_000), compression: 'zstd' })
//   parsePublicKey(cache.publicKey)     the key that signed it
//   hello.narinfo, hello.nar, hello.file     its texts and bytes; cache.files has them under the paths they are served at
//
// Hashes, base-32 letters, fingerprint and signature are worked out here and not by src/nix: each proves the other.

import { spawnSync } from 'node:child_process'
import { createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto'
import { gzipSync } from 'node:zlib'

import { compress as zstdSync } from 'zstd-napi'

import { isStoreHash, type StoreHash } from '../../src/nix/store-path.ts'

export type SyntheticCompression = 'none' | 'gzip' | 'zstd' | 'xz'

export interface SyntheticCacheOptions {
  /** Default `cache.test-1`. */
  readonly keyName?: string
  /** Default `/nix/store`. */
  readonly storeDir?: string
  /** Default 40. */
  readonly priority?: number
}

export interface EntryOptions {
  /** Default `demo`. */
  readonly name?: string
  /** 32 letters; default: a random one. */
  readonly hash?: string
  /** What the one file in the NAR holds; default: 1000 random bytes. */
  readonly content?: Uint8Array | string
  /** The NAR itself, instead of `content`. */
  readonly nar?: Uint8Array
  /** Default `none`. `xz` needs the program of that name. */
  readonly compression?: SyntheticCompression
  /** Base names, or other entries. */
  readonly references?: readonly (string | SyntheticEntry)[]
  /** The URL field; default `nar/<fileHash>.nar[.gz|.zst|.xz]`. The file is served where a relative one points. */
  readonly url?: string
  /** False leaves FileHash and FileSize out. */
  readonly fileHash?: boolean
  /** False leaves Sig out. */
  readonly signed?: boolean
  /**
   * The path is made from the NAR (`fixed:r:sha256:`), or with `flat` from `content` alone (`fixed:sha256:`, as fetched files are), and
   * CA says so; such a one needs no signature.
   */
  readonly contentAddressed?: boolean | 'flat'
  /** Further lines, or other values, by key; undefined leaves the line out. They are not signed over. */
  readonly fields?: Readonly<Record<string, string | undefined>>
}

export interface SyntheticEntry {
  readonly hash: StoreHash
  /** `<hash>-<name>` */
  readonly baseName: string
  readonly storePath: string
  readonly narinfo: string
  /** `/<hash>.narinfo` */
  readonly narinfoPath: string
  /** The path of the NAR file from the cache's root, with leading slash. */
  readonly narPath: string
  /** The NAR, and the NAR file: the same bytes, compressed. */
  readonly nar: Buffer
  readonly file: Buffer
  /** sha256, 52 letters nix32. */
  readonly narHash: string
  readonly fileHash: string
}

export interface CachedFile {
  readonly type: string
  readonly body: Buffer
}

const extensions: Readonly<Record<SyntheticCompression, string>> = { none: '', gzip: '.gz', zstd: '.zst', xz: '.xz' }

export class SyntheticCache {
  readonly storeDir: string
  readonly keyName: string
  /** `name:base64`, as it stands in trusted-public-keys. */
  readonly publicKey: string
  /** What is served, by path with leading slash. Tests may change it. */
  readonly files = new Map<string, CachedFile>()
  readonly #privateKey: KeyObject

  constructor({ keyName = 'cache.test-1', storeDir = '/nix/store', priority = 40 }: SyntheticCacheOptions = {}) {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519')
    this.storeDir = storeDir
    this.keyName = keyName
    this.#privateKey = privateKey
    // The last 32 bytes of the SPKI form are the raw key.
    this.publicKey = `${keyName}:${publicKey.export({ format: 'der', type: 'spki' }).subarray(-32).toString('base64')}`
    this.put(
      '/nix-cache-info',
      `StoreDir: ${storeDir}\nWantMassQuery: 1\nPriority: ${priority}\n`,
      'text/x-nix-cache-info',
    )
  }

  /** Makes a store path with its NAR and serves both. */
  add(options: EntryOptions = {}): SyntheticEntry {
    const { name = 'demo', compression = 'none', content = randomBytes(1000) } = options
    const nar = Buffer.from(options.nar ?? narOfFile(content))
    const file = compressed(nar, compression)
    const narHash = nix32(sha256(nar))
    const fileHash = nix32(sha256(file))
    const address = this.#address(options.contentAddressed ?? false, nar, content, name)
    const hash = address?.hash ?? options.hash ?? nix32(randomBytes(20))
    if (!isStoreHash(hash)) throw new Error(`not a store hash: ${hash}`)
    const baseName = `${hash}-${name}`
    const storePath = `${this.storeDir}/${baseName}`
    const references = (options.references ?? []).map((one) => (typeof one === 'string' ? one : one.baseName))
    const url = options.url ?? `nar/${fileHash}.nar${extensions[compression]}`
    const fields: Record<string, string | undefined> = {
      StorePath: storePath,
      URL: url,
      Compression: compression,
      ...(options.fileHash === false ? {} : { FileHash: `sha256:${fileHash}`, FileSize: String(file.length) }),
      NarHash: `sha256:${narHash}`,
      NarSize: String(nar.length),
      References: references.join(' '),
      ...(address === undefined ? {} : { CA: address.ca }),
      ...(options.signed === false
        ? {}
        : { Sig: this.sign(this.fingerprint(storePath, narHash, nar.length, references)) }),
      ...options.fields,
    }
    const narinfo = Object.entries(fields)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => `${key}: ${value}\n`)
      .join('')
    const narPath = new URL(url, 'http://cache/').pathname
    const narinfoPath = `/${hash}.narinfo`
    this.put(narinfoPath, narinfo, 'text/x-nix-narinfo')
    this.put(narPath, file, 'application/x-nix-nar')
    return { hash, baseName, storePath, narinfo, narinfoPath, narPath, nar, file, narHash, fileHash }
  }

  /** Serves a file under a path with leading slash. */
  put(path: string, body: Uint8Array | string, type = 'application/octet-stream'): void {
    this.files.set(path, { type, body: Buffer.from(body) })
  }

  remove(path: string): void {
    this.files.delete(path)
  }

  /** What is signed: `1;<store path>;sha256:<NarHash>;<NarSize>;<references, comma separated>`. */
  fingerprint(storePath: string, narHash: string, narSize: number, references: readonly string[]): string {
    const full = references.map((reference) => `${this.storeDir}/${reference}`).sort()
    return `1;${storePath};sha256:${narHash};${narSize};${full.join(',')}`
  }

  /** A Sig value by this cache's key: `name:base64`. */
  sign(text: string): string {
    return `${this.keyName}:${sign(null, Buffer.from(text), this.#privateKey).toString('base64')}`
  }

  /** The hash part of a content-addressed path, and its CA. */
  #address(kind: boolean | 'flat', nar: Buffer, content: Uint8Array | string, name: string) {
    const digest = sha256(kind === 'flat' ? Buffer.from(content) : nar)
    if (kind === true) {
      return { hash: this.#pathHash('source', digest, name), ca: `fixed:r:sha256:${nix32(digest)}` }
    }
    if (kind !== 'flat') return undefined
    const outer = sha256(Buffer.from(`fixed:out:sha256:${digest.toString('hex')}:`))
    return { hash: this.#pathHash('output:out', outer, name), ca: `fixed:sha256:${nix32(digest)}` }
  }

  /** Nix's makeStorePath: a digest over kind, inner digest, store directory and name, folded to 20 bytes. */
  #pathHash(kind: string, inner: Buffer, name: string): string {
    const digest = sha256(Buffer.from(`${kind}:sha256:${inner.toString('hex')}:${this.storeDir}:${name}`))
    const folded = Buffer.alloc(20)
    for (const [index, byte] of digest.entries()) folded[index % 20]! ^= byte
    return nix32(folded)
  }
}

/** The NAR of one regular file. */
export function narOfFile(content: Uint8Array | string): Buffer {
  const words = ['nix-archive-1', '(', 'type', 'regular', 'contents', content, ')']
  return Buffer.concat(words.flatMap((word) => narWord(Buffer.from(word))))
}

/** Nix's base 32: digit k from the right is the five bits at offset 5k, bytes little-endian. */
export function nix32(bytes: Uint8Array): string {
  const letters = '0123456789abcdfghijklmnpqrsvwxyz'
  let number = 0n
  for (const byte of [...bytes].toReversed()) number = (number << 8n) | BigInt(byte)
  let text = ''
  for (let left = Math.ceil((bytes.length * 8) / 5); left > 0; left -= 1) {
    text = letters[Number(number & 31n)]! + text
    number >>= 5n
  }
  return text
}

function narWord(bytes: Buffer): Buffer[] {
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(bytes.length))
  return [length, bytes, Buffer.alloc((8 - (bytes.length % 8)) % 8)]
}

function compressed(nar: Buffer, compression: SyntheticCompression): Buffer {
  if (compression === 'gzip') return gzipSync(nar)
  if (compression === 'zstd') return zstdSync(nar)
  if (compression === 'none') return nar
  const made = spawnSync('xz', ['-0', '-c'], { input: nar, maxBuffer: 1 << 30 })
  if (made.status !== 0) throw new Error('no program xz here', { cause: made.error })
  return made.stdout
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}
