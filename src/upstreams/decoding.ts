// Takes off the Content-Encoding that an upstream put on, whether we asked for it or not, with bounded memory (edge case 42).

import { pipeline } from 'node:stream'
import { createBrotliDecompress, createGunzip } from 'node:zlib'

// The streaming interface of zstd-napi gives all that a chunk decodes to at once, which a bomb makes gigabytes of.
import zstd from 'zstd-napi/binding.js'

import { ProxyError, messageOf } from '../errors.ts'

/** Of the zstd window, log2 of bytes: what levels up to 19 write. */
const windowLog = 23
const pieceSize = 64 * 1024
const utf8 = new TextDecoder('utf-8', { fatal: true })

/**
 * The bytes without their Content-Encoding, decoded as they are read and never further ahead than a few buffers.
 * @param encoding the header's value; none, empty or `identity` leave the bytes as they are
 * @throws ProxyError `damaged`, at once for an encoding we do not know and while reading for bytes that do not decode
 */
export function decoded(body: AsyncIterable<Uint8Array>, encoding: string | undefined): AsyncIterable<Uint8Array> {
  switch (encoding?.trim().toLowerCase() ?? '') {
    case '':
    case 'identity':
      return body
    case 'gzip':
    case 'x-gzip':
      return blaming(body, (source) => pipeline(source, createGunzip(), () => {}))
    case 'br':
      return blaming(body, (source) => pipeline(source, createBrotliDecompress(), () => {}))
    case 'zstd':
      return blaming(body, unzstd)
    default:
      throw new ProxyError('damaged', `Content-Encoding ${encoding} is not one we can take off`)
  }
}

/**
 * Reads a whole text of at most so many bytes.
 * @throws ProxyError `bad-narinfo` when it is longer or not UTF-8, and whatever the body throws
 */
export async function readText(body: AsyncIterable<Uint8Array>, most: number): Promise<string> {
  const pieces: Uint8Array[] = []
  let size = 0
  for await (const piece of body) {
    size += piece.length
    if (size > most) throw new ProxyError('bad-narinfo', `longer than ${most} bytes`)
    pieces.push(Buffer.from(piece))
  }
  try {
    const [first] = pieces
    return utf8.decode(first && pieces.length === 1 ? first : Buffer.concat(pieces))
  } catch (error) {
    throw new ProxyError('bad-narinfo', 'not UTF-8', { cause: error })
  }
}

async function* unzstd(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const context = new zstd.DCtx()
  context.setParameter(zstd.DParameter.windowLogMax, windowLog)
  const piece = Buffer.allocUnsafe(pieceSize)
  let unfinished = false
  for await (const chunk of body) {
    let rest = chunk
    for (let more = rest.length > 0; more;) {
      const [left, written, read] = context.decompressStream(piece, rest)
      if (written > 0) yield Buffer.from(piece.subarray(0, written))
      rest = rest.subarray(read)
      unfinished = left !== 0
      // A full piece may mean that there is more to come out although all has gone in.
      more = rest.length > 0 || (written === pieceSize && unfinished)
    }
  }
  if (unfinished) throw new Error('ends within a frame')
}

/** What the connection throws is thrown as it is; the rest is the decoder's, whose bytes are then wrong. */
async function* blaming(
  body: AsyncIterable<Uint8Array>,
  decode: (source: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  let broken: Error | undefined
  async function* source(): AsyncGenerator<Uint8Array> {
    try {
      // A stream may still be at work on a chunk when it asks for the next.
      for await (const chunk of body) yield Buffer.from(chunk)
    } catch (error) {
      broken = error instanceof Error ? error : new Error('broken', { cause: error })
      throw error
    }
  }
  try {
    yield* decode(source())
  } catch (error) {
    if (broken !== undefined) throw broken
    throw new ProxyError('damaged', `its Content-Encoding does not decode: ${messageOf(error)}`, { cause: error })
  }
}
