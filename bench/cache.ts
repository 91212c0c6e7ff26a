// The binary cache that everything is measured with: files with right hashes and signatures, made up here, laid out as a directory
// that nginx serves as it is.

import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign, type KeyObject } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, open, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { encodeBase32 } from '../src/nix/base32.ts'

/** A path of it, with everything that is needed to ask for it. */
export interface Entry {
  /** 32 letters */
  readonly hash: string
  readonly narinfo: string
  /** From the root of the cache, without leading slash. */
  readonly narPath: string
  /** sha256 as 52 letters; NARs are not compressed, so it is the file's as well. */
  readonly narHash: string
  readonly narSize: number
}

const mebibyte = 1024 * 1024

export class Cache {
  readonly directory: string
  /** `name:base64` */
  readonly publicKey: string
  readonly #key: KeyObject
  /** One small NAR that all paths share whose NAR nobody reads: a thousand bytes. */
  #small: { readonly narHash: string; readonly narSize: number; readonly narPath: string } | undefined

  private constructor(directory: string, key: KeyObject) {
    this.directory = directory
    this.#key = key
    const raw = createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32)
    this.publicKey = `bench-1:${raw.toString('base64')}`
  }

  /** Opens the cache in a directory, or begins one there. */
  static async in(directory: string): Promise<Cache> {
    await mkdir(join(directory, 'nar'), { recursive: true })
    const keyFile = `${directory}.key`
    if (!existsSync(keyFile)) {
      const { privateKey } = generateKeyPairSync('ed25519')
      await writeFile(keyFile, privateKey.export({ format: 'pem', type: 'pkcs8' }))
    }
    const cache = new Cache(directory, createPrivateKey(await readFile(keyFile)))
    await writeFile(join(directory, 'nix-cache-info'), 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n')
    return cache
  }

  /** So many paths whose NARs are all the same few bytes. The same `label` gives the same paths again; `files` false writes none. */
  async paths(label: string, count: number, files = true): Promise<readonly Entry[]> {
    this.#small ??= await this.#nar('small', 1000)
    const small = this.#small
    const entries = Array.from({ length: count }, (_, index) => this.#entry(`${label}-${index}`, small))
    const last = entries.at(-1)
    if (files && last && !existsSync(join(this.directory, `${last.hash}.narinfo`))) {
      for (let at = 0; at < count; at += 256)
        await Promise.all(entries.slice(at, at + 256).map((one) => this.#write(one)))
    }
    return entries
  }

  /** A path with a NAR of its own of so many bytes, random ones: nothing makes them smaller. */
  async nar(label: string, size: number): Promise<Entry> {
    const entry = this.#entry(label, await this.#nar(label, size))
    await this.#write(entry)
    return entry
  }

  #entry(label: string, nar: Pick<Entry, 'narHash' | 'narSize' | 'narPath'>): Entry {
    const { narHash, narSize, narPath } = nar
    const hash = encodeBase32(createHash('sha256').update(label).digest().subarray(0, 20))
    const storePath = `/nix/store/${hash}-${label}`
    // Eight references: as many as a path of nixpkgs has in the mean.
    const references = Array.from({ length: 8 }, (_, n) => {
      const other = encodeBase32(createHash('sha256').update(`${label}/${n}`).digest().subarray(0, 20))
      return `${other}-dependency-${n}.0.1`
    }).sort()
    const full = references.map((name) => `/nix/store/${name}`).join(',')
    const fingerprint = `1;${storePath};sha256:${narHash};${narSize};${full}`
    const signature = sign(null, Buffer.from(fingerprint), this.#key).toString('base64')
    const narinfo = `StorePath: ${storePath}
URL: ${narPath}
Compression: none
FileHash: sha256:${narHash}
FileSize: ${narSize}
NarHash: sha256:${narHash}
NarSize: ${narSize}
References: ${references.join(' ')}
Deriver: ${references[0]}.drv
Sig: bench-1:${signature}
`
    return { hash, narinfo, narPath, narHash, narSize }
  }

  #write({ hash, narinfo }: Entry): Promise<void> {
    return writeFile(join(this.directory, `${hash}.narinfo`), narinfo)
  }

  /** The NAR of one regular file whose bytes are drawn from its label. */
  async #nar(label: string, size: number): Promise<Pick<Entry, 'narHash' | 'narSize' | 'narPath'>> {
    const head = Buffer.concat([...words('nix-archive-1', '(', 'type', 'regular', 'contents')])
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(size))
    const tail = Buffer.concat([Buffer.alloc((8 - (size % 8)) % 8), ...words(')')])
    const temp = join(this.directory, 'nar', `${label}.new`)
    const hash = createHash('sha256')
    const file = await open(temp, 'w')
    let narSize = 0
    const put = async (bytes: Buffer): Promise<void> => {
      hash.update(bytes)
      narSize += bytes.length
      await file.write(bytes)
    }
    try {
      await put(Buffer.concat([head, length]))
      const block = noise(label)
      for (let left = size, n = 0; left > 0; n++) {
        // So that no two mebibytes are alike.
        block.writeUInt32LE(n)
        const part = block.subarray(0, Math.min(left, block.length))
        await put(part)
        left -= part.length
      }
      await put(tail)
    } finally {
      await file.close()
    }
    const narHash = encodeBase32(hash.digest())
    const narPath = `nar/${narHash}.nar`
    await rename(temp, join(this.directory, narPath))
    return { narHash, narSize, narPath }
  }
}

/** A mebibyte that looks random and is the same for the same label. */
function noise(label: string): Buffer {
  const blocks = Array.from({ length: mebibyte / 64 }, (_, n) => createHash('sha512').update(`${label}:${n}`).digest())
  return Buffer.concat(blocks)
}

function* words(...texts: readonly string[]): Generator<Buffer, void, void> {
  for (const text of texts) {
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(text.length))
    yield Buffer.concat([length, Buffer.from(text), Buffer.alloc((8 - (text.length % 8)) % 8)])
  }
}
