// One remote binary cache, a configured one or a peer: asks it, believes only what is signed, and opens its NARs.

import type { LookupFunction } from 'node:net'

import { ProxyError } from '../errors.ts'
import type { Log } from '../log.ts'
import { isTakenFromPeers } from '../nix/compression.ts'
import { provesItsNar, provesItsPath } from '../nix/content-address.ts'
import { narIdentity, sameNar } from '../nix/nar-url.ts'
import { parseNarInfo, type NarInfo } from '../nix/narinfo.ts'
import { verifiedBy, type TrustedKeys } from '../nix/signature.ts'
import type { StoreHash } from '../nix/store-path.ts'
import type { Asking, ByteRange, Nar, Substitute, Substituter, Wanted } from '../substituter.ts'
import type { Outcome } from '../trail.ts'
import type { Bounds } from './address.ts'
import type { UpstreamResponse } from './client.ts'
import { NotAsked } from './failures.ts'
import type { Health, HealthState } from './health.ts'
import { limitsFor, type Limits } from './limits.ts'
import { Line } from './line.ts'
import { narLocation } from './location.ts'
import { Misses } from './misses.ts'
import { extentOf, mostBytes, narExtent, refuseEncoding } from './nar-answer.ts'
import type { Presence } from './peer-source.ts'
import type { Resource, ResourceSource } from './resources.ts'
import { whyUntrusted } from './untrusted.ts'
import type { Uplink } from './uplink.ts'

export interface UpstreamOptions {
  /** As it stands in trails, metrics and logs. */
  readonly name: string
  /** http or https, with a base path if it has one. Query, fragment and credentials in it are left out. */
  readonly url: URL
  /** Interface of a link-local address in `url`. */
  readonly zone?: string | undefined
  readonly storeDir: string
  /** Empty: nothing is verified, the client decides. */
  readonly keys: TrustedKeys
  readonly stratum: string
  readonly peer: boolean
  readonly presence: Presence
  /** Sent to this upstream and no other host. */
  readonly headers?: Readonly<Record<string, string>>
  readonly credentials?: { readonly login: string; readonly password: string } | undefined
  /** Hosts that its narinfos and redirects may name: see address.ts */
  readonly allowedHosts?: readonly string[]
  readonly limits?: Partial<Limits>
  /** Ours, for CDN-Loop. */
  readonly instanceId: string
  /** `substrata/0.1.0` */
  readonly userAgent?: string
  readonly log?: Log | undefined
  /** Monotonic, ms. */
  readonly clock?: () => number
  /** From 0 to 1, for jitter. */
  readonly random?: (() => number) | undefined
  /** Like `dns.lookup`. */
  readonly lookup?: LookupFunction | undefined
  /** Learns how the link is from how this one is. */
  readonly uplink?: Uplink | undefined
}

/** For the status page and the metrics. */
export interface UpstreamStatus {
  readonly name: string
  readonly url: string
  readonly stratum: string
  readonly peer: boolean
  readonly state: HealthState
  /** Its nix-cache-info was read and names our store directory. */
  readonly verified: boolean
  /** Mean ms to a narinfo answer. */
  readonly latency: number | undefined
  readonly lastFailure: string | undefined
  readonly failuresInARow: number
}

/** What came of a question: the outcome for the trail, and what was asked for if there is any. */
type Answer<T> = readonly [Outcome, T | undefined]

export class Upstream implements Substituter, ResourceSource {
  readonly name: string
  readonly #options: UpstreamOptions
  readonly #bounds: Bounds
  readonly #line: Line
  readonly #misses: Misses

  constructor(options: UpstreamOptions) {
    const { name, peer, presence, clock = () => performance.now() } = options
    const limits = limitsFor(peer ? `${presence} peer` : 'cache', options.limits)
    this.name = name
    this.#options = options
    this.#bounds = { own: rootOf(options.url), allowedHosts: [...(options.allowedHosts ?? [])] }
    this.#misses = new Misses({ ttl: limits.missTtl, clock })
    this.#line = new Line({
      ...this.#bounds,
      who: `upstream ${name}`,
      storeDir: options.storeDir,
      peer,
      limits,
      extraHeaders: { ...options.headers },
      credentials: options.credentials,
      instanceId: options.instanceId,
      userAgent: options.userAgent ?? 'substrata',
      log: options.log,
      clock,
      random: options.random,
      zone: options.zone,
      lookup: options.lookup,
      uplink: options.uplink,
    })
  }

  get health(): Health {
    return this.#line.health
  }

  /** Begins to watch it in the background; the first question does so, too. */
  start(): void {
    this.#line.watch.start()
  }

  /** Closes its connections for good; what runs is aborted. */
  async stop(): Promise<void> {
    await this.#line.close()
  }

  status(): UpstreamStatus {
    const { name, stratum, peer } = this.#options
    const { state, latency, lastFailure, failuresInARow } = this.health
    const { verified } = this.#line.watch
    const url = this.#bounds.own.href
    return { name, url, stratum, peer, state, verified, latency, lastFailure: lastFailure?.message, failuresInARow }
  }

  /** It may have it by now: an upload, for instance. */
  forget(hash: StoreHash): void {
    this.#misses.forget(hash)
  }

  /**
   * Asks for a narinfo. Undefined when it has none that we take: it said no, or did so moments ago, or what it has is not signed
   * by a trusted key or not the bytes that are wanted; the trail says which. Rejects with a ProxyError when it could not answer,
   * at once when its circuit is open.
   */
  find(wanted: Wanted, asking: Asking): Promise<Substitute | undefined> {
    const remembered = this.#misses.has(wanted.hash) ? 'said no a moment ago' : undefined
    return this.#asked(asking, remembered, () => this.#lookUp(wanted, asking))
  }

  /** See ResourceSource. What comes encoded is decoded; a NAR or a part of something is refused then. */
  get(path: string, asking: Asking, range?: ByteRange): Promise<Resource | undefined> {
    return this.#asked(asking, undefined, () => this.#fetch(path, asking, range))
  }

  /** Writes a question and what came of it into the trail, and failures into the health. */
  async #asked<T>(
    asking: Asking,
    remembered: string | undefined,
    ask: () => Promise<Answer<T>>,
  ): Promise<T | undefined> {
    const { trail, avoid, signal } = asking
    const entry = trail.ask(this.name, this.#options.stratum)
    const avoided = avoid?.has(this.name) === true ? 'has just failed this question' : undefined
    const why = avoided ?? this.health.disabledFor ?? remembered
    try {
      signal.throwIfAborted()
      if (why !== undefined) {
        trail.settle(entry, { kind: 'skipped', why })
        return undefined
      }
      this.#line.admit()
      this.#line.watch.start()
      const [outcome, answer] = await ask()
      trail.settle(entry, outcome)
      return answer
    } catch (error) {
      const failure = this.#line.failure(error, signal)
      if (failure instanceof NotAsked) trail.settle(entry, { kind: 'skipped', why: failure.why })
      else trail.fail(entry, failure)
      throw failure
    }
  }

  async #lookUp(wanted: Wanted, { loop, signal }: Asking): Promise<Answer<Substitute>> {
    const url = new URL(`${wanted.hash}.narinfo`, this.#bounds.own)
    const { text, lasting, ms } = await this.#line.text({ url, loop, signal })
    const info = text === undefined ? undefined : parseNarInfo(text, this.#options.storeDir)
    if (info !== undefined && info.storePath.hash !== wanted.hash) {
      throw new ProxyError('bad-narinfo', `its narinfo for ${wanted.hash} is that of ${info.storePath.path}`)
    }
    this.health.succeeded(ms)
    if (info !== undefined) return this.#judge(info, wanted, loop)
    if (lasting) this.#misses.add(wanted.hash)
    return [{ kind: 'missed' }, undefined]
  }

  async #judge(info: NarInfo, wanted: Wanted, loop: readonly string[]): Promise<Answer<Substitute>> {
    const { keys, peer } = this.#options
    if (wanted.nar !== undefined && !sameNar(narIdentity(info), wanted.nar)) return refused('has other bytes')
    if (peer && !isTakenFromPeers(info.compression)) return refused(`${info.compression} is not taken from peers`)
    const url = narLocation(info.url, this.#bounds)
    const signedBy = keys.length === 0 ? undefined : ((await verifiedBy(info, keys)) ?? proofOf(info, peer))
    if (keys.length > 0 && signedBy === undefined) return refused(whyUntrusted(info, keys))
    const substitute: Substitute = {
      narinfo: info,
      from: this.name,
      signedBy,
      peer,
      open: (range, signal) => this.#open(info, url, loop, range, signal),
      blame: (error) => this.#line.blame(error),
    }
    return [{ kind: 'found', signedBy }, substitute]
  }

  async #open(
    info: NarInfo,
    url: URL,
    loop: readonly string[],
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): Promise<Nar> {
    try {
      return await this.#line.file({ url, loop, range, signal }, (response) => {
        const { status } = response
        // 403 is also how a signed URL says that its time is over: a new narinfo has a new one.
        if (status === 403 || this.#line.saysNo(status)) throw new ProxyError('gone', `its NAR is gone (${status})`)
        if (status !== 200 && status !== 206) throw this.#refusal(response)
        const { size, expected } = narExtent(response, range, info)
        return { size, body: this.#line.transfer(response, signal, { expected, least: 1, most: mostBytes(info) }) }
      })
    } catch (error) {
      throw this.#line.failure(error, signal)
    }
  }

  async #fetch(path: string, { loop, signal }: Asking, range: ByteRange | undefined): Promise<Answer<Resource>> {
    const url = new URL(`./${path}`, this.#bounds.own)
    if (!url.href.startsWith(this.#bounds.own.href)) throw new ProxyError('bad-address', `${path} is not within it`)
    let page = false
    const resource = await this.#line.file({ url, loop, range, signal }, (response): Resource | undefined => {
      const { status, headers } = response
      // A captive portal's: nothing that a cache has is one, and nobody could tell from the bytes.
      page = /^text\/html\b/i.test(headers['content-type'] ?? '')
      if (page && status < 300) return undefined
      if (this.#line.saysNo(status)) return undefined
      if (status !== 200 && status !== 206) throw this.#refusal(response)
      if (range !== undefined || path.startsWith('nar/')) refuseEncoding(response)
      const { size, expected } = extentOf(response, range)
      const encoding = headers['content-encoding']
      const plain = encoding === undefined || encoding === 'identity'
      return {
        contentType: headers['content-type'],
        size: plain ? size : undefined,
        body: this.#line.transfer(response, signal, plain ? { expected } : { encoding }),
        from: this.name,
      }
    })
    if (resource !== undefined) return [{ kind: 'found', signedBy: undefined }, resource]
    return page ? refused('a web page') : [{ kind: 'missed' }, undefined]
  }

  /** 416 is an answer: what is asked for lies outside. */
  #refusal(response: UpstreamResponse): ProxyError {
    const { status } = response
    return status === 416 ? new ProxyError('bad-range', 'the part lies outside') : this.#line.badStatus(response)
  }
}

function refused(why: string): Answer<never> {
  return [{ kind: 'refused', why }, undefined]
}

/**
 * A content-addressed path needs nobody's signature. A configured upstream's NAR is proved by the client in the end; a peer's must
 * be held to the CA before anybody gets it.
 */
function proofOf(info: NarInfo, peer: boolean): string | undefined {
  return (peer ? provesItsNar(info) : provesItsPath(info)) ? 'ca' : undefined
}

function rootOf({ protocol, host, pathname }: URL): URL {
  return new URL(`${protocol}//${host}${pathname.replace(/\/*$/, '/')}`)
}
