// One look at a cache's nix-cache-info as it comes, for the doctor: nothing is followed, judged or remembered.

import type { IncomingHttpHeaders } from 'node:http'

import { Client as Connection } from 'undici'

import { connectorFor } from './connector.ts'
import { within } from './deadline.ts'
import { decoded, readText } from './decoding.ts'
import { exchange } from './exchange.ts'
import { failureOf } from './failures.ts'

export interface VisitOptions {
  /** How a failure's sentence begins: `upstream cache.nixos.org`. */
  readonly who: string
  /** The cache's base URL, with a final slash. */
  readonly url: URL
  /** Interface of a link-local address in it. */
  readonly zone?: string | undefined
  /** Credentials too: they go to its own host only. */
  readonly headers: Readonly<Record<string, string>>
  /** For connecting, for the first byte, ms. */
  readonly connect: number
  readonly firstByte: number
}

export interface Visit {
  readonly url: URL
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** The body, if it is a short text; empty otherwise. */
  readonly text: string
  /** Milliseconds from the request to the answer's headers, connecting included. */
  readonly ms: number
  /** Our clock as the headers came, in ms since 1970. */
  readonly at: number
}

const mostBytes = 64 * 1024
/** For the whole body, in ms. */
const bodyTime = 5000

/** GETs `nix-cache-info`, over a connection of its own. Rejects with a ProxyError when there is no answer. */
export async function visit(options: VisitOptions, signal: AbortSignal): Promise<Visit> {
  const { who, url, zone, headers, connect, firstByte } = options
  const own = new URL(url)
  const connection = new Connection(own.origin, {
    connect: connectorFor({ own, allowedHosts: [], timeout: connect, zone }),
  })
  const began = performance.now()
  try {
    return await within(connect + firstByte + bodyTime, signal, async (signal) => {
      const response = await exchange({
        dispatcher: connection,
        url: new URL('nix-cache-info', own),
        headers: { accept: '*/*', 'accept-encoding': 'identity', ...headers },
        firstByte,
        signal,
      })
      const [ms, at] = [performance.now() - began, Date.now()]
      const { status, headers: got, body } = response
      // What is too long, or no text, is no nix-cache-info either.
      const text = await readText(decoded(body, got['content-encoding']), mostBytes).catch(() => '')
      return { url: own, status, headers: got, text, ms, at }
    })
  } catch (error) {
    throw failureOf(who, error)
  } finally {
    await connection.destroy()
  }
}
