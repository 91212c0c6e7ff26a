// One request and its response over undici, with our own limit on the wait for the first byte and an abort that is heard at once.

import type { IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'

import type { Dispatcher } from 'undici'

import { ProxyError } from '../errors.ts'
import { reasonOf } from './gate.ts'

/** A response whose body is still to come. */
export interface Exchange {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Must be read to its end or destroyed, else its socket is lost. Destroying it closes the socket. */
  readonly body: Readable
}

export interface ExchangeOptions {
  readonly dispatcher: Dispatcher
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  /** From the request being written to the response's headers, ms. */
  readonly firstByte: number
  /** Ends the exchange, before or within the body. */
  readonly signal: AbortSignal
}

/** Bytes of a body that may wait for a slow reader. */
const highWaterMark = 128 * 1024

/**
 * GETs a URL; follows nothing and decodes nothing. Rejects with what undici or the system threw, with a ProxyError `timeout`
 * when the first byte does not come, and with the signal's reason. The body fails with the same.
 */
export function exchange({ dispatcher, url, headers, firstByte, signal }: ExchangeOptions): Promise<Exchange> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(reasonOf(signal))
      return
    }
    let controller: Dispatcher.DispatchController | undefined
    let body: Readable | undefined
    let timer: NodeJS.Timeout | undefined
    const release = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
    }
    /** Stops it wherever it is; while there is no connection yet, `controller` is told as soon as there is one. */
    const end = (reason: Error): void => {
      release()
      reject(reason)
      controller?.abort(reason)
      body?.destroy(reason)
    }
    const stop = (): void => end(reasonOf(signal))
    signal.addEventListener('abort', stop, { once: true })

    const handler: Dispatcher.DispatchHandler = {
      onRequestStart(started) {
        controller = started
        if (signal.aborted) started.abort(reasonOf(signal))
        else timer = setTimeout(() => end(new ProxyError('timeout', `no first byte within ${firstByte} ms`)), firstByte)
      },
      onResponseStart(answering, status, headers) {
        if (status < 200) return
        clearTimeout(timer)
        body = bodyOf(answering)
        body.once('close', release)
        resolve({ status, headers, body })
      },
      onResponseData(answering, chunk) {
        if (body?.push(chunk) === false) answering.pause()
      },
      onResponseEnd() {
        body?.push(null)
      },
      onResponseError(_, error) {
        release()
        reject(error)
        body?.destroy(error)
      },
    }
    try {
      // Our own limits hold; undici's are off.
      const limits = { headersTimeout: 0, bodyTimeout: 0 }
      dispatcher.dispatch(
        { origin: url.origin, path: url.pathname + url.search, method: 'GET', headers, ...limits },
        handler,
      )
    } catch (error) {
      end(error instanceof Error ? error : new Error('no request made', { cause: error }))
    }
  })
}

/** Reads what is left of a body that nobody wants: a short rest frees the connection for the next, a long one is not worth it. */
export function discard(body: Readable): void {
  let left = 64 * 1024
  const timer = setTimeout(() => body.destroy(), 1000).unref()
  body.on('data', (chunk: Uint8Array) => {
    left -= chunk.length
    if (left < 0) body.destroy()
  })
  body.once('close', () => clearTimeout(timer))
}

/** Reads from the connection as fast as it is read itself, and closes the connection when it is given up. */
function bodyOf(controller: Dispatcher.DispatchController): Readable {
  const body = new Readable({
    highWaterMark,
    read: () => controller.resume(),
    destroy(error, done) {
      if (!body.readableEnded) controller.abort(error ?? new Error('given up'))
      done(error)
    },
  })
  // Whoever reads it is told by the reading; nobody need listen.
  body.on('error', () => {})
  return body
}
