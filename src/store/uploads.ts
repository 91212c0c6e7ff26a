// What clients upload: a NAR waits unseen until its narinfo comes; then both are verified like anything else, and kept.

import { createHash, type Hash } from 'node:crypto'
import { rm } from 'node:fs/promises'

import { messageOf, ProxyError } from '../errors.ts'
import type { Log } from '../log.ts'
import { sha256FromDigest, type Sha256 } from '../nix/hash.ts'
import { narIdentity } from '../nix/nar-url.ts'
import { parseNarInfo, withSignatures, type NarInfo } from '../nix/narinfo.ts'
import type { TrustedKeys } from '../nix/signature.ts'
import type { StoreHash } from '../nix/store-path.ts'
import { Trail } from '../trail.ts'
import type { DiskStore } from './disk-store.ts'
import { GatheredWriter } from './gathered-writer.ts'
import { Trust } from './trust.ts'
import type { Verifier } from './verifier.ts'

/** Milliseconds that a NAR waits for its narinfo. A client sends it right after; a whole release at most some hours after. */
const waitsFor = 6 * 60 * 60_000
/** Name under which uploaded paths stand in trails, logs and lists. */
const giver = 'upload'

export interface UploadedNarsOptions {
  readonly store: DiskStore
  readonly verifier: Verifier
  /** An upload must be signed by one of these (or prove its own path); none: nobody is asked to vouch. */
  readonly keys: TrustedKeys
  readonly storeDir: string
  /** Whether uploaded NARs may be evicted like others. */
  readonly evict: boolean
  readonly log?: Log | undefined
}

/** A NAR whose narinfo has not come yet. */
interface Waiting {
  readonly file: string
  readonly size: number
  readonly fileHash: Sha256
  /** By the monotonic clock. */
  readonly since: number
}

/** Bytes on disk that a narinfo may be about. */
type Source = Pick<Waiting, 'file' | 'size'> & { readonly fileHash: Sha256 | undefined }

export class UploadedNars {
  readonly #options: UploadedNarsOptions
  readonly #trust: Trust
  /** By the URL they were sent to, the oldest first. */
  readonly #waiting = new Map<string, Waiting>()

  constructor(options: UploadedNarsOptions) {
    this.#options = { ...options }
    this.#trust = new Trust({ keys: options.keys })
  }

  /** Bytes of the NAR file that was uploaded to this URL, or that a narinfo we hold gives this URL; undefined: there is none. */
  async narSize(path: string): Promise<number | undefined> {
    return this.#waiting.get(path)?.size ?? (await this.#heldUnder(path))?.size
  }

  /**
   * Takes a NAR file; nobody sees it yet. Rejects with ProxyError `damaged` when it is not as long as was said, `store-full` or
   * `store-failed`, and with whatever the body throws.
   *
   * @param path the URL it is sent to, without leading slash
   * @param size bytes, where the client says
   */
  async putNar(path: string, body: AsyncIterable<Uint8Array>, size: number | undefined): Promise<void> {
    await this.#dropOld()
    const { store } = this.#options
    const { file, path: temporary } = await store.stage(size)
    const hash = createHash('sha256')
    try {
      const received = await writeAll(body, new GatheredWriter({ file, written: (bytes) => hash.update(bytes) }))
      if (size !== undefined && received !== size) {
        throw new ProxyError('damaged', `upload: ${path} ended after ${received} of ${size} bytes`)
      }
      if (received === 0) throw new ProxyError('damaged', `upload: ${path} is empty`)
      const before = this.#waiting.get(path)
      this.#waiting.delete(path)
      this.#waiting.set(path, { file: temporary, size: received, fileHash: digest(hash), since: performance.now() })
      if (before) await rm(before.file, { force: true })
    } catch (error) {
      await rm(temporary, { force: true })
      throw error
    } finally {
      await file.close()
    }
  }

  /**
   * Takes a narinfo and makes its path visible. For a path that we hold already (`nix store sign`), its signatures are added. Rejects with
   * ProxyError `bad-narinfo`, `untrusted`, `gone` (its NAR was not uploaded), `damaged` (the NAR is not what was signed), `store-full` or
   * `store-failed`; then nothing has changed.
   */
  async putNarInfo(hash: StoreHash, text: string): Promise<void> {
    const { storeDir, store } = this.#options
    const narinfo = parseNarInfo(text, storeDir)
    const { path } = narinfo.storePath
    if (narinfo.storePath.hash !== hash) throw new ProxyError('bad-narinfo', `upload: ${hash}.narinfo is for ${path}`)
    const voucher = await this.#trust.decide(narinfo)
    if (!voucher) throw new ProxyError('untrusted', `upload: ${path} ${this.#whatLacks()}`)
    const held = await store.find({ hash, nar: narIdentity(narinfo) }, unasked())
    if (held) {
      if (!sameSigned(held.narinfo, narinfo)) {
        throw new ProxyError('damaged', `upload: ${path} is here already, and differs in what is signed`)
      }
      await store.amend(withSignatures(held.narinfo, narinfo.signatures), voucher.by)
      // Two clients have uploaded the same path: nobody will need the second copy of its NAR.
      if (held.narinfo.url === narinfo.url) await this.#forget(narinfo.url)
      return
    }
    const source = this.#waiting.get(narinfo.url) ?? (await this.#heldUnder(narinfo.url))
    if (!source) throw new ProxyError('gone', `upload: the NAR of ${path} (${narinfo.url}) has not been uploaded`)
    await this.#keep(narinfo, source, voucher.by)
    // Another path with the same NAR will find it held.
    await this.#forget(narinfo.url)
  }

  /** Forgets the NARs whose narinfos have not come. */
  async close(): Promise<void> {
    for (const { file } of this.#waiting.values()) await rm(file, { force: true })
    this.#waiting.clear()
  }

  async #keep(narinfo: NarInfo, { file, size, fileHash }: Source, signedBy: string | undefined): Promise<void> {
    const { store, verifier, evict, log } = this.#options
    const { path } = narinfo.storePath
    const fileRight = fileHash !== undefined && fileHash === narinfo.fileHash
    if (fileHash !== undefined && narinfo.fileHash !== undefined && !fileRight) {
      throw new ProxyError('damaged', `upload: the NAR of ${path} does not have its FileHash`)
    }
    const proof = await verifier.checkFile(file, size, narinfo).catch((error: unknown) => {
      const code = error instanceof ProxyError ? error.code : 'store-failed'
      throw new ProxyError(code, `upload: ${path}: ${messageOf(error)}`, { cause: error })
    })
    if (proof === 'undecodable' && !fileRight) {
      throw new ProxyError(
        'damaged',
        `upload: the NAR of ${path} (${narinfo.compression}) cannot be verified without its FileHash`,
      )
    }
    const open = (): Promise<never> => Promise.reject(new ProxyError('gone', 'upload: not kept yet'))
    const substitute = { narinfo, from: giver, signedBy, peer: false, open }
    const reservation = await store.reserve(substitute, size, { uploaded: !evict, from: file })
    try {
      await reservation.commit(proof === 'nar' ? 'nar' : 'file', size)
    } finally {
      await reservation.discard()
      await reservation.file.close()
    }
    log?.info(`upload: ${path}`, { bytes: size, signedBy })
  }

  /** A NAR that we hold under a narinfo with this URL: two paths of the same contents have one NAR, and it is sent once. */
  async #heldUnder(url: string): Promise<Source | undefined> {
    const { store } = this.#options
    const hash = store.byUrl(url)
    const held = hash && (await store.fileOf(hash, url))
    return held && { ...held, fileHash: undefined }
  }

  async #forget(url: string): Promise<void> {
    const sent = this.#waiting.get(url)
    this.#waiting.delete(url)
    if (sent) await rm(sent.file, { force: true })
  }

  async #dropOld(): Promise<void> {
    for (const [path, { file, since }] of this.#waiting) {
      if (performance.now() - since < waitsFor) return
      this.#waiting.delete(path)
      await rm(file, { force: true })
    }
  }

  #whatLacks(): string {
    const names = this.#options.keys.map(({ name }) => name).join(', ')
    return `carries no signature of a trusted key (${names}): sign it with "nix store sign", or add its key to trust.keys`
  }
}

async function writeAll(body: AsyncIterable<Uint8Array>, writer: GatheredWriter): Promise<number> {
  let received = 0
  for await (const chunk of body) {
    await writer.write(chunk)
    received += chunk.length
  }
  await writer.flush()
  return received
}

function digest(hash: Hash): Sha256 {
  return sha256FromDigest(hash.digest())
}

/** Whether two narinfos say the same about everything that a signature covers. */
function sameSigned(a: NarInfo, b: NarInfo): boolean {
  const references = (info: NarInfo): string => [...info.references].sort().join(' ')
  return (
    a.storePath.path === b.storePath.path &&
    a.narHash === b.narHash &&
    a.narSize === b.narSize &&
    references(a) === references(b)
  )
}

function unasked(): { readonly signal: AbortSignal; readonly trail: Trail; readonly loop: readonly string[] } {
  return { signal: new AbortController().signal, trail: new Trail(), loop: [] }
}
