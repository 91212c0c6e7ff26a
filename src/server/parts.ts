// What the server is given: Substituters and plain functions. It knows neither store nor upstreams.

import type { IncomingMessage, ServerResponse } from 'node:http'

import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { StoreHash } from '../nix/store-path.ts'
import type { Asking, ByteRange, HeldText, Substitute, Substituter } from '../substituter.ts'
import type { Explanations } from './explain.ts'
import type { Status } from './status.ts'
import type { Uploads } from './upload.ts'

export interface ServerParts {
  /** Read-through: the disk, then the strata. */
  readonly substituter: Substituter
  /** The disk alone: answers those who say `only-if-cached`. */
  readonly held: Substituter
  /** What `substituter` would find of a path (by its hash alone) if it is held, and in memory: it counts as asked for. */
  readonly recall?: ((hash: StoreHash) => Substitute | undefined) | undefined
  /** The narinfos of those paths that are held and can be looked up at once; the others have to be asked for. They count as asked for. */
  readonly recite?: ((hashes: readonly StoreHash[]) => readonly (HeldText | undefined)[]) | undefined
  /**
   * Logs, listings, realisations …: uploaded ones, then those of the strata. The path is one that `resourceKind` knows. `onlyHeld`: a
   * peer asks, and only uploaded ones count.
   */
  resource(path: string, onlyHeld: boolean, asking: Asking): Promise<Resource | undefined>
  /**
   * A NAR under a URL that is not of our form, `nar/1b0lyf….nar.xz?hash=…` as it was asked for. Where the narinfo that names this URL
   * is known, its substitute; otherwise the file as an upstream gives it, which nobody can verify. `range` is for the latter: its
   * body is then that very part. `onlyHeld`: a peer asks, and only what is on disk counts.
   */
  foreignNar(path: string, asked: ForeignAsked, asking: Asking): Promise<ForeignNar | undefined>
  /** Undefined: uploads are off. */
  readonly uploads: Uploads | undefined
  /** Undefined: nobody is told why. */
  readonly explanations?: Explanations | undefined
  status(): Status
  /** False while starting and stopping. */
  ready(): boolean
  readonly metrics: Metrics
  /** This proxy's name in CDN-Loop. */
  readonly instanceId: string
  readonly storeDir: string
  /** As clients read it in nix-cache-info; lower comes first. */
  readonly priority: number
  /** What a narinfo request gets when nobody has the path and somebody could not answer. */
  readonly unreachable: 'miss' | 'error'
  /** Milliseconds within which a question is answered; the transfer of a NAR may last. */
  readonly deadline: number
  readonly access?: Log | undefined
}

/**
 * Answers one request. A rejection is a mistake of ours; it has then written either nothing or a cut response.
 */
export type Route = (incoming: IncomingMessage, outgoing: ServerResponse) => void | Promise<void>

/** Something that a cache has besides narinfos and verified NARs, passed on as it comes. */
export interface Resource {
  readonly contentType: string | undefined
  /** Bytes of the whole, whatever part was asked for; undefined when nobody has said. */
  readonly size: number | undefined
  /** Must be iterated or returned, else a socket leaks. Throws a ProxyError when it breaks. */
  readonly body: AsyncIterable<Uint8Array>
  /** Name of the substituter that gave it. */
  readonly from: string
}

export interface ForeignAsked {
  readonly range: ByteRange | undefined
  readonly onlyHeld: boolean
}

export type ForeignNar = { readonly substitute: Substitute } | Resource
