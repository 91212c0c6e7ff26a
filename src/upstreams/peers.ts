// The live peers as members of a stratum: one substituter a peer, however many addresses it has, and one upstream an address, which
// is kept so that its health outlives a race.

import { LRUCache } from 'lru-cache'

import { messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Asking, ByteRange, Substitute, Substituter, Wanted } from '../substituter.ts'
import type { Peer, PeerSource } from './peer-source.ts'
import { race, type Entrant } from './race.ts'
import { entering, type Resource, type ResourceSource } from './resources.ts'

/** Milliseconds after which a peer's next address is tried too. */
const pathHedge = 50
/** Milliseconds for which the address that answered first is tried first. */
const winnerFor = 60_000
/** Milliseconds for which the upstream of a peer that has gone is kept: a flapping link does not make its health start anew. */
const goneFor = 60_000
/** From this number on, upstreams of peers that have gone are not kept at all. */
const keptAtMost = 256
/** Addresses in use at a time: 256 peers with four each, as many as mesh discovery admits. */
const pathsAtMost = 1024
/** Addresses that were complained about: past this the oldest is complained about again. */
const complaintsKept = 1024

/** What a peer's address must be able to do: an Upstream does. */
export interface PeerUpstream extends Substituter, ResourceSource {
  readonly name: string
  /** Begins what it does in the background. */
  start(): void
  /** Ends that, and closes its sockets. */
  stop(): Promise<void>
}

export interface PeersOptions<U extends PeerUpstream> {
  readonly source: PeerSource
  /** The upstream for one address of a peer, not yet started. May throw when it cannot use that address. */
  readonly makeUpstream: (peer: Peer, url: URL) => U
  readonly log?: Log | undefined
  /** Milliseconds by the monotonic clock. */
  readonly clock?: () => number
}

/** One address of one peer. */
interface Path<U> {
  readonly url: string
  readonly upstream: U
  seenAt: number
  /** When it last answered before the peer's other addresses did. */
  wonAt: number
}

export class Peers<U extends PeerUpstream> {
  readonly #source: PeerSource
  readonly #makeUpstream: PeersOptions<U>['makeUpstream']
  readonly #log: Log | undefined
  readonly #clock: () => number
  /** By peer and address, those who were seen last at the end. */
  readonly #paths = new Map<string, Path<U>>()
  readonly #unusable = new LRUCache<string, true>({ max: complaintsKept })

  constructor({ source, makeUpstream, log, clock = () => performance.now() }: PeersOptions<U>) {
    this.#source = source
    this.#makeUpstream = makeUpstream
    this.#log = log
    this.#clock = clock
  }

  /** One substituter for each peer that is here now. Never throws: an address that cannot be used is passed over, and logged once. */
  members(): readonly (Substituter & ResourceSource)[] {
    const now = this.#clock()
    const named = this.#named()
    this.#forgetGone(named, now)
    const paths = new Map<string, Path<U>[]>()
    for (const [key, { peer, text }] of named) {
      const path = this.#paths.get(key) ?? this.#open(key, peer, text)
      if (!path) continue
      path.seenAt = now
      const ways = paths.get(peer.id) ?? []
      // The same address may have been found in two ways.
      if (ways.every(({ url }) => url !== path.url)) ways.push(path)
      paths.set(peer.id, ways)
    }
    return Array.from(paths, ([id, ways]) => new PeerMember(id, byMerit(ways, now), this.#clock))
  }

  /** Every upstream that is kept, for the status page: also of peers that have just gone. */
  upstreams(): readonly U[] {
    return Array.from(this.#paths.values(), ({ upstream }) => upstream)
  }

  /** Closes all sockets. */
  async stop(): Promise<void> {
    const all = this.upstreams()
    this.#paths.clear()
    await Promise.all(all.map((upstream) => upstream.stop()))
  }

  /** The addresses that are named now. Trust and presence are part of the key: an upstream is made for them. */
  #named(): Map<string, { readonly peer: Peer; readonly text: string }> {
    const named = new Map<string, { readonly peer: Peer; readonly text: string }>()
    for (const peer of this.#source.peers()) {
      for (const text of peer.urls) {
        if (named.size >= pathsAtMost) return named
        named.set(JSON.stringify([peer.id, peer.trust, peer.presence, text]), { peer, text })
      }
    }
    return named
  }

  #open(key: string, peer: Peer, text: string): Path<U> | undefined {
    if (this.#unusable.has(key)) return undefined
    try {
      const url = usable(text)
      const path = { url: url.href, upstream: this.#makeUpstream(peer, url), seenAt: 0, wonAt: -Infinity }
      path.upstream.start()
      this.#paths.set(key, path)
      return path
    } catch (error) {
      this.#unusable.set(key, true)
      this.#log?.warn(`peer ${peer.id}: an address that cannot be used is passed over`, {
        url: text,
        via: peer.via,
        why: messageOf(error),
      })
      return undefined
    }
  }

  /** Closes upstreams whose peer has been gone for long, and those longest gone while too many are kept. */
  #forgetGone(named: ReadonlyMap<string, unknown>, now: number): void {
    const gone = Array.from(this.#paths).filter(([key]) => !named.has(key))
    gone.sort(([, a], [, b]) => a.seenAt - b.seenAt)
    for (const [key, { seenAt, upstream }] of gone) {
      if (now - seenAt < goneFor && this.#paths.size <= keptAtMost) return
      this.#paths.delete(key)
      upstream.stop().catch((error: unknown) => {
        this.#log?.warn(`${upstream.name}: could not be closed`, { why: messageOf(error) })
      })
    }
  }
}

/** One peer: its addresses are raced, and whichever answers speaks for it. */
class PeerMember<U extends PeerUpstream> implements Substituter, ResourceSource {
  readonly name: string
  readonly #paths: readonly Path<U>[]
  readonly #clock: () => number

  constructor(id: string, paths: readonly Path<U>[], clock: () => number) {
    this.name = id
    this.#paths = paths
    this.#clock = clock
  }

  find(wanted: Wanted, asking: Asking): Promise<Substitute | undefined> {
    return this.#first(asking, (upstream, signal) => upstream.find(wanted, { ...asking, signal }))
  }

  get(path: string, asking: Asking, range?: ByteRange): Promise<Resource | undefined> {
    return this.#first(asking, (upstream, signal) =>
      entering((asking) => upstream.get(path, asking, range), asking)(signal),
    )
  }

  /** A miss counts as an answer: it is the same peer behind every address, and need not say so on each. */
  async #first<A>(
    { signal, avoid }: Asking,
    ask: (upstream: U, signal: AbortSignal) => Promise<A | undefined>,
  ): Promise<A | undefined> {
    const entrants = this.#paths.map((path): Entrant<{ path: Path<U>; answer: A | undefined }> => ({
      hedge: pathHedge,
      enter: async (signal) => {
        const answer = await ask(path.upstream, signal)
        // One that was passed over has not spoken for its peer.
        return avoid?.has(path.upstream.name) ? undefined : { path, answer }
      },
    }))
    const first = await race(`peer ${this.name}`, entrants, signal)
    if (first) first.path.wonAt = this.#clock()
    return first?.answer
  }
}

/** The address that answered last first, while that is fresh; then in the order in which they are named. */
function byMerit<U>(paths: readonly Path<U>[], now: number): readonly Path<U>[] {
  const merit = ({ wonAt }: Path<U>): number => (now - wonAt < winnerFor ? wonAt : -Infinity)
  return paths.toSorted((a, b) => (merit(a) === merit(b) ? 0 : merit(b) - merit(a)))
}

/** An address of the web without user or password; throws for everything else. */
function usable(text: string): URL {
  const url = new URL(text)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new TypeError('neither http nor https')
  if (url.username !== '' || url.password !== '') throw new TypeError('a user in the address')
  return url
}
