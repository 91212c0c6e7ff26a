// The worker that proves NARs: decompresses a (perhaps still growing) NAR file and compares length and SHA-256 with the narinfo.
//
// Plain JavaScript with JSDoc types, because Node 20 starts a worker from the file as it is: one file serves the tests and the
// built program. Decoders: xz by WebAssembly (its parser is fed by strangers, so it lives in a sandbox), zstd by zstd-napi,
// gzip and brotli by node:zlib.

import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { parentPort } from 'node:worker_threads'
import { createBrotliDecompress, createGunzip } from 'node:zlib'

import xz from 'xz-decompress'
import { DecompressStream } from 'zstd-napi'

/** Bytes read from the file at once. */
const readSize = 256 * 1024
const shorter = 'the file is shorter than was written'
/** log2 of the largest zstd window that is decoded: 128 MiB, what `zstd --ultra -22` writes. Bounds memory. */
const zstdWindowLog = 27

/**
 * What the XZ decoder's numbers mean (enum xz_ret of XZ Embedded). Those of `beyond` say that the stream may well be sound, only
 * not for this decoder.
 * @type {Readonly<Record<string, string>>}
 */
const xzErrors = { 5: 'not an xz stream', 7: 'corrupt xz stream', 8: 'xz stream ends early or has bytes after its end' }
/** Unsupported check, out of memory, memory limit, unsupported options. */
const beyondXz = /error code [2346]$/
const beyondZstd = /too much memory|unsupported parameter|version not supported/i

/**
 * @typedef {{ kind: 'check', id: number, path: string, compression: string, narHash: Uint8Array, narSize: number,
 *   size: number, ended: boolean }} CheckMessage
 * @typedef {CheckMessage | { kind: 'grown', id: number, size: number, ended: boolean } | { kind: 'abort', id: number }} ToWorker
 * @typedef {{ id: number, outcome: 'nar' | 'undecodable' } | { id: number, outcome: 'damaged' | 'failed', why: string }} FromWorker
 */

/** A file that another thread is still writing: how much may be read, and whether that is all. */
class Growing {
  size = 0
  ended = false
  aborted = false
  /** @type {(() => void) | undefined} */
  #wake

  /** @param {{ size?: number, ended?: boolean, aborted?: boolean }} change */
  update(change) {
    Object.assign(this, change)
    this.#wake?.()
  }

  /** @returns {Promise<void>} */
  changed() {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }
}

/** @type {Map<number, Growing>} */
const files = new Map()

/**
 * @param {string} path
 * @param {Growing} growing
 * @returns {AsyncGenerator<Buffer, void, void>}
 */
async function* follow(path, growing) {
  if (growing.ended && growing.size <= readSize) {
    if (growing.size > 0) yield small(path, growing.size)
    return
  }
  const file = await open(path, 'r')
  try {
    let position = 0
    for (;;) {
      if (growing.aborted) throw new Error('aborted')
      if (position < growing.size) {
        const buffer = Buffer.allocUnsafe(Math.min(readSize, growing.size - position))
        const { bytesRead } = await file.read(buffer, 0, buffer.length, position)
        if (bytesRead === 0) throw new Error(shorter)
        position += bytesRead
        yield buffer.subarray(0, bytesRead)
      } else if (growing.ended) {
        return
      } else {
        await growing.changed()
      }
    }
  } finally {
    await file.close()
  }
}

/**
 * Most are small and have just been written: this thread has them before it could have asked another to read them.
 * @param {string} path
 * @param {number} size
 */
function small(path, size) {
  const file = openSync(path, 'r')
  try {
    const buffer = Buffer.allocUnsafe(size)
    if (readSync(file, buffer, 0, size, 0) < size) throw new Error(shorter)
    return buffer
  } finally {
    closeSync(file)
  }
}

/**
 * @param {string} compression
 * @param {AsyncGenerator<Buffer, void, void>} source
 * @returns {AsyncIterable<Uint8Array>}
 */
function decode(compression, source) {
  switch (compression) {
    case 'none':
      return source
    case 'xz':
      return new xz.XzReadableStream(
        new ReadableStream({
          async pull(controller) {
            const { value, done } = await source.next()
            if (done) controller.close()
            else controller.enqueue(value)
          },
          async cancel() {
            await source.return()
          },
        }),
      )
    case 'zstd':
      return piped(source, new DecompressStream({ windowLogMax: zstdWindowLog }))
    case 'gzip':
      return piped(source, createGunzip())
    case 'br':
      return whole(source, createBrotliDecompress())
    default:
      throw new Error(`no decoder for ${compression}`)
  }
}

/**
 * @template {import('node:stream').Transform} T
 * @param {AsyncGenerator<Buffer, void, void>} source
 * @param {T} decoder
 * @returns {T}
 */
function piped(source, decoder) {
  const input = Readable.from(source)
  input.on('error', (error) => decoder.destroy(error))
  decoder.on('close', () => input.destroy())
  return input.pipe(decoder)
}

/**
 * Brotli ends at its last block and passes over whatever follows: that must be nothing.
 * @param {AsyncGenerator<Buffer, void, void>} source
 * @param {import('node:zlib').BrotliDecompress} decoder
 * @returns {AsyncGenerator<Uint8Array, void, void>}
 */
async function* whole(source, decoder) {
  let fed = 0
  async function* counted() {
    for await (const chunk of source) {
      fed += chunk.length
      yield chunk
    }
  }
  yield* piped(counted(), decoder)
  if (decoder.bytesWritten !== fed) throw new Error('bytes after the end of the brotli stream')
}

/**
 * @param {CheckMessage} check
 * @param {Growing} growing
 * @returns {Promise<FromWorker>}
 */
async function prove({ id, path, compression, narHash, narSize }, growing) {
  const hash = createHash('sha256')
  let size = 0
  try {
    for await (const chunk of decode(compression, follow(path, growing))) {
      size += chunk.length
      // A bomb is left as soon as it is longer than the signed NarSize.
      if (size > narSize)
        return { id, outcome: 'damaged', why: `the NAR is longer than its NarSize of ${narSize} bytes` }
      hash.update(chunk)
    }
  } catch (error) {
    return failure(id, error)
  }
  if (size !== narSize) return { id, outcome: 'damaged', why: `the NAR has ${size} bytes, its NarSize says ${narSize}` }
  if (!hash.digest().equals(narHash)) return { id, outcome: 'damaged', why: 'the NAR does not have its NarHash' }
  return { id, outcome: 'nar' }
}

/**
 * @param {number} id
 * @param {unknown} error
 * @returns {FromWorker}
 */
function failure(id, error) {
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof Error && 'syscall' in error) return { id, outcome: 'failed', why: message }
  if (beyondXz.test(message) || beyondZstd.test(message)) return { id, outcome: 'undecodable' }
  const number = /error code (\d+)$/.exec(message)?.[1]
  return { id, outcome: 'damaged', why: (number !== undefined && xzErrors[number]) || message }
}

parentPort?.on('message', (/** @type {ToWorker} */ message) => {
  if (message.kind === 'check') {
    const growing = new Growing()
    growing.update({ size: message.size, ended: message.ended })
    files.set(message.id, growing)
    void prove(message, growing).then((outcome) => {
      files.delete(message.id)
      parentPort?.postMessage(outcome)
    })
    return
  }
  const growing = files.get(message.id)
  if (message.kind === 'abort') growing?.update({ aborted: true })
  else growing?.update({ size: message.size, ended: message.ended })
})
