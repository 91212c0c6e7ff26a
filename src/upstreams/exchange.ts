// One request and its response over undici, with our own limit on the wait for the first byte and an abort that is heard at once.

import type { IncomingHttpHeaders } from 'node:http'

import type { Dispatcher } from 'undici'

import { ProxyError } from '../errors.ts'
import { reasonOf } from './gate.ts'
import { IncomingBody } from './incoming-body.ts'

/** A response whose body is still to come. */
export interface Exchange {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Must be read to its end or destroyed, else its socket is lost. Destroying it closes the socket. */
  readonly body: IncomingBody
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
    let body: IncomingBody | undefined
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
        body = new IncomingBody({
          expected: Number(headers['content-length']) || undefined,
          resume: () => answering.resume(),
          abort: (reason) => answering.abort(reason),
        })
        body.whenOver(release)
        resolve({ status, headers, body })
      },
      onResponseData(answering, chunk) {
        if (body?.take(chunk) === false) answering.pause()
      },
      onResponseEnd() {
        body?.end()
      },
      onResponseError(_, error) {
        if (body) return body.fail(error)
        release()
        reject(error)
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
export function discard(body: IncomingBody): void {
  const timer = setTimeout(() => body.destroy(), 1000).unref()
  body.whenOver(() => clearTimeout(timer))
  void drain(body).catch(() => {})
}

async function drain(body: IncomingBody): Promise<void> {
  let left = 64 * 1024
  for await (const chunk of body) {
    left -= chunk.length
    if (left < 0) return
  }
}
