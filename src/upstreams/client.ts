// HTTP GET to one upstream and the hosts it may send us to: headers, redirects, connections that died in our hands.

import type { LookupFunction } from 'node:net'

import { Agent, Client as Connection, type Dispatcher } from 'undici'

import { ProxyError } from '../errors.ts'
import { sameOrigin, type Bounds } from './address.ts'
import { connectorFor } from './connector.ts'
import { discard, exchange, type Exchange } from './exchange.ts'
import { failureOf, wasHungUp } from './failures.ts'
import type { Limits } from './limits.ts'
import { redirectTarget } from './location.ts'

export interface ClientOptions extends Bounds {
  /** How every failure's sentence begins: `upstream cache.nixos.org`. */
  readonly who: string
  /** Sent with every request. */
  readonly headers: Readonly<Record<string, string>>
  /** Sent to the upstream's own scheme, host and port, and to no one else. */
  readonly secretHeaders: Readonly<Record<string, string>>
  readonly limits: Pick<Limits, 'connect' | 'firstByte' | 'connections'>
  readonly zone?: string | undefined
  readonly lookup?: LookupFunction | undefined
  /** Told of every connection that could not be made, whether a request still waits for it or not; not of those made for a probe. */
  readonly noConnection?: ((error: Error) => void) | undefined
}

/** A response whose body is still to come: it must be read to its end, discarded or destroyed. Never a redirect. */
export type UpstreamResponse = Exchange

const mostRedirects = 5
const redirects = new Set([301, 302, 303, 307, 308])
/** How long an idle connection is kept where the server names no time, ms. */
const keepAlive = 30_000

export class Client {
  readonly #options: ClientOptions
  readonly #connect: ReturnType<typeof connectorFor>
  #agent: Agent
  /** Connections for one request each, and agents that were replaced: until they are done. */
  readonly #passing = new Set<Dispatcher>()

  constructor(options: ClientOptions) {
    this.#options = options
    this.#connect = connectorFor({ ...options, timeout: options.limits.connect })
    this.#agent = this.#newAgent()
  }

  /**
   * GETs a URL and follows redirects within the bounds, at most 5.
   * @param headers of this request, besides the usual ones
   * @param signal ends the request or the body
   * @param fresh true: not over a connection that was kept alive
   * @throws ProxyError: `unreachable`, `timeout` (connection or first byte), `bad-address`, `bad-status` (redirects), `damaged` (no
   * HTTP), `aborted`. The body throws what came from undici: see transfer.ts
   */
  async get(
    url: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
    fresh = false,
  ): Promise<UpstreamResponse> {
    try {
      return await this.#follow(url, headers, signal, fresh)
    } catch (error) {
      throw failureOf(this.#options.who, error)
    }
  }

  /** Lets go of all idle connections: after a failure of the link they are dead and do not know it. Running requests go on. */
  renew(): void {
    const old = this.#agent
    this.#agent = this.#newAgent()
    this.#endWhenDone(old)
  }

  /** Closes every connection, at once; whatever runs is aborted, and whatever comes later is refused. */
  async close(): Promise<void> {
    const all = [this.#agent, ...this.#passing]
    await Promise.all(all.map((dispatcher) => dispatcher.destroy()))
  }

  async #follow(
    url: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
    fresh: boolean,
  ): Promise<UpstreamResponse> {
    let at = url
    for (let hops = 0; ; hops += 1) {
      const response = await this.#once(at, headers, signal, fresh)
      if (!redirects.has(response.status)) return response
      discard(response.body)
      if (hops === mostRedirects) throw new ProxyError('bad-status', `more than ${mostRedirects} redirects`)
      at = redirectTarget(at, response.headers.location, this.#options)
    }
  }

  /** A server may close an idle connection just as we use it (edge case 102): then once more, over one that is new. */
  async #once(
    url: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
    fresh: boolean,
  ): Promise<Exchange> {
    const { limits, own } = this.#options
    const secret = sameOrigin(url, own) ? this.#options.secretHeaders : {}
    const request = {
      url,
      headers: { ...this.#options.headers, ...secret, ...headers },
      firstByte: limits.firstByte,
      signal,
    }
    if (!fresh) {
      try {
        return await exchange({ ...request, dispatcher: this.#agent })
      } catch (error) {
        if (!wasHungUp(error) || signal.aborted) throw error
      }
    }
    const connection = new Connection(url.origin, { connect: this.#connect })
    const answer = exchange({ ...request, dispatcher: connection })
    this.#endWhenDone(connection)
    return answer
  }

  #newAgent(): Agent {
    const { limits, noConnection } = this.#options
    // Those of an agent that was replaced were begun in other times: they say nothing about now.
    const failed = (error: Error): void => {
      if (agent === this.#agent) noConnection?.(error)
    }
    const agent: Agent = new Agent({
      connect: connectorFor({ ...this.#options, timeout: limits.connect, failed }),
      connections: limits.connections,
      keepAliveTimeout: keepAlive,
    })
    return agent
  }

  #endWhenDone(dispatcher: Dispatcher): void {
    this.#passing.add(dispatcher)
    void dispatcher
      .close()
      .catch(() => {})
      .finally(() => this.#passing.delete(dispatcher))
  }
}
