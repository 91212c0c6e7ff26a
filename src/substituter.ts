// The one interface: everything that can answer is a Substituter, from a single upstream to the whole proxy.

import type { ProxyError } from './errors.ts'
import type { NarIdentity } from './nix/nar-url.ts'
import type { NarInfo } from './nix/narinfo.ts'
import type { StoreHash } from './nix/store-path.ts'
import type { Trail } from './trail.ts'

/** Anything that may hold a store path: an upstream, a peer, our own disk, or several of these together. */
export interface Substituter {
  readonly name: string
  /** Undefined when it answered that it has no such path; rejects with a ProxyError when it could not answer. */
  find(wanted: Wanted, asking: Asking): Promise<Substitute | undefined>
}

/** A path by its hash; a NAR request also names the exact bytes that the client was promised. */
export interface Wanted {
  readonly hash: StoreHash
  readonly nar?: NarIdentity
}

/** What travels with a question: when to stop asking, where what happened is written down, and whom not to ask. */
export interface Asking {
  readonly signal: AbortSignal
  readonly trail: Trail
  /** Ids of the proxies that this question has come through (RFC 8586, CDN-Loop), nearest last. Empty for a Nix client. */
  readonly loop: readonly string[]
  /** Names of substituters that have just failed this very question, and are passed over. */
  readonly avoid?: ReadonlySet<string>
}

/** One answer: a narinfo, and the way to the NAR of whoever gave it. */
export interface Substitute {
  readonly narinfo: NarInfo
  /** Name of the substituter that gave it, as it stands in trails, metrics and logs. */
  readonly from: string
  /** Name of the trusted key whose signature was verified; `ca` where the path proves itself; undefined without keys. */
  readonly signedBy: string | undefined
  /** It came from a peer: NarHash must hold before the entry is committed and before a client gets the last bytes. */
  readonly peer: boolean
  /** Opens the NAR, or a part of it. Rejects with a ProxyError before any byte; afterwards the body throws one. */
  open(range: ByteRange | undefined, signal: AbortSignal): Promise<Nar>
  /** Told when the NAR turned out not to be what the narinfo promised (FileHash, NarHash): its giver's health hears of it. */
  blame?(error: ProxyError): void
}

/** Bytes `start` to `end` of a NAR file, both included and counted from 0; without `end`, to the last. */
export interface ByteRange {
  readonly start: number
  readonly end?: number
}

/** The narinfo of a path that is held, unread. */
export interface HeldText {
  /** As `printNarInfo` printed it, with its sender's URL. */
  readonly text: string
  /** The name of the NAR file. */
  readonly file: string
}

/** An opened NAR file (compressed, as it travels). Its body must be iterated or returned, else a file or socket leaks. */
export interface Nar {
  /** Bytes of the whole NAR file, whatever range was opened; undefined when nobody has said yet. */
  readonly size: number | undefined
  /** A chunk is valid only until the next one is asked for: buffers are used again. Throws a ProxyError when it breaks. */
  readonly body: AsyncIterable<Uint8Array>
}
