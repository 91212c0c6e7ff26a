// The body of an upload: bounded, decoded, and given up when the client stalls. Reading it is what the store does.

import type { IncomingMessage } from 'node:http'
import { pipeline, Readable, type Transform } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'

import { ProxyError } from '../errors.ts'

/** Milliseconds without a byte. */
const stalledAfter = 60_000

/**
 * Nix's `narinfo-compression`, `ls-compression` and `log-compression` send metadata so (since 2.32). We keep and serve it plain; of
 * the codings that Nix can write these are the ones that HTTP knows.
 */
const decoders: ReadonlyMap<string, () => Transform> = new Map<string, () => Transform>([
  ['gzip', createGunzip],
  ['x-gzip', createGunzip],
  ['deflate', createInflate],
  ['br', createBrotliDecompress],
])

export interface UploadBodyOptions {
  readonly incoming: IncomingMessage
  /** Bytes after decoding; undefined: no limit. */
  readonly limit: number | undefined
  /** Whether it may have a Content-Encoding. A NAR may not: its bytes are what its name says. */
  readonly mayBeEncoded: boolean
}

/** Can be iterated once. Throws a ProxyError: `bad-request` (too long, badly encoded), `timeout`, `aborted` (the client hung up). */
export class UploadBody implements AsyncIterable<Uint8Array> {
  /** Bytes as the client announced them; undefined when it did not, or when they are encoded. */
  readonly size: number | undefined
  readonly contentType: string | undefined
  readonly #incoming: IncomingMessage
  readonly #limit: number
  readonly #decoder: (() => Transform) | undefined
  #received = 0

  /** Throws `bad-request` when its headers already say that it will not do. */
  constructor({ incoming, limit = Number.POSITIVE_INFINITY, mayBeEncoded }: UploadBodyOptions) {
    const { 'content-length': length, 'content-encoding': coding = '', 'content-type': contentType } = incoming.headers
    this.#incoming = incoming
    this.#limit = limit
    if (!/^(?:identity)?$/i.test(coding)) {
      this.#decoder = mayBeEncoded ? decoders.get(coding.toLowerCase()) : undefined
      if (!this.#decoder) throw new ProxyError('bad-request', `upload: cannot take Content-Encoding ${coding} here`)
    }
    this.contentType = contentType
    this.size = length === undefined || this.#decoder ? undefined : Number(length)
    if (this.size !== undefined) this.#bound(this.size)
  }

  /** Bytes so far, after decoding. */
  get received(): number {
    return this.#received
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    const decoder = this.#decoder?.()
    for await (const chunk of decoder ? decoded(this.#arriving(), decoder) : this.#arriving()) {
      this.#received += chunk.byteLength
      this.#bound(this.#received)
      yield chunk
    }
  }

  /** All of it as text. */
  async text(): Promise<string> {
    const chunks: Uint8Array[] = []
    for await (const chunk of this) chunks.push(chunk)
    return Buffer.concat(chunks).toString()
  }

  async *#arriving(): AsyncGenerator<Uint8Array, void, void> {
    const incoming = this.#incoming
    let stalled: ProxyError | undefined
    incoming.setTimeout(stalledAfter, () => {
      stalled = new ProxyError('timeout', `upload: nothing came for ${stalledAfter / 1000} s`)
      incoming.destroy(stalled)
    })
    try {
      // The socket outlives a body that is given up half-way: the answer goes there.
      yield* incoming.iterator({ destroyOnReturn: false })
    } catch (error) {
      throw stalled ?? new ProxyError('aborted', 'upload: the client hung up', { cause: error })
    } finally {
      // To verify it may take longer than any stall.
      incoming.setTimeout(0)
    }
  }

  #bound(bytes: number): void {
    if (bytes > this.#limit) throw new ProxyError('bad-request', `upload: longer than ${this.#limit} bytes`)
  }
}

async function* decoded(chunks: AsyncIterable<Uint8Array>, decoder: Transform): AsyncGenerator<Uint8Array, void, void> {
  try {
    yield* pipeline(Readable.from(chunks), decoder, () => {})
  } catch (error) {
    if (error instanceof ProxyError) throw error
    throw new ProxyError('bad-request', 'upload: not encoded as its Content-Encoding says', { cause: error })
  }
}
