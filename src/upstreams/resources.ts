// The other things that a binary cache has (build logs, listings, realisations, NARs under URLs of other software): asked for like
// narinfos, in the same race, but passed on as they come.

import type { Asking, ByteRange } from '../substituter.ts'
import { aborted, race } from './race.ts'

/** One answer with status 200 (206 where a part was asked for), its body still to be read. */
export interface Resource {
  readonly contentType: string | undefined
  /** Bytes of the whole thing, whatever part was asked for; undefined when nobody has said. */
  readonly size: number | undefined
  /** Must be iterated or returned, else a socket leaks. Throws a ProxyError when it breaks. */
  readonly body: AsyncIterable<Uint8Array>
  /** Name of the substituter that gave it. */
  readonly from: string
}

/** Whoever can be asked for a path as it is: an upstream, or a peer. */
export interface ResourceSource {
  readonly name: string
  /**
   * GETs a validated path (with its query, no leading slash) below the cache's root. Undefined when it has no such thing; rejects
   * with a ProxyError when it could not answer. A `range` must be answered with that very part, else it has failed. The signal of
   * `asking` holds until the end of the body: when it fires, the body throws and its socket is freed, read or not.
   */
  get(path: string, asking: Asking, range?: ByteRange): Promise<Resource | undefined>
}

export interface ResourcesOptions {
  /** In the order in which they are asked; `members` are asked for afresh each time, `hedge` is as in `Strata`. */
  readonly strata: readonly { readonly members: () => readonly ResourceSource[]; readonly hedge: number }[]
}

export class Resources {
  readonly #strata: ResourcesOptions['strata']

  constructor({ strata }: ResourcesOptions) {
    this.#strata = [...strata]
  }

  /**
   * The first answer, stratum by stratum. Undefined when everybody said no; rejects with a ProxyError when nobody has it and
   * somebody could not answer. `asking.signal` also ends the body.
   */
  async find(path: string, asking: Asking, range?: ByteRange): Promise<Resource | undefined> {
    const entrants = this.#strata.map(({ members, hedge }, index) => ({
      hedge,
      enter: entering((asking) => among(`stratum ${index + 1}`, members(), path, asking, range), asking),
    }))
    const resource = await race(`resource ${path}`, entrants, asking.signal)
    if (resource) asking.trail.winner = resource.from
    return resource
  }
}

/** All members of one stratum at once. */
function among(
  who: string,
  members: readonly ResourceSource[],
  path: string,
  asking: Asking,
  range: ByteRange | undefined,
): Promise<Resource | undefined> {
  const entrants = members.map((member) => ({
    hedge: 0,
    enter: entering((asking) => member.get(path, asking, range), asking),
  }))
  return race(who, entrants, asking.signal)
}

/**
 * How to enter a race for something with a body. A race lets go of its winner's signal when it is over, but a body is still to be
 * read then: so it gets a signal that fires when the race is lost, however late, and when the asker has gone, until the body ends.
 */
export function entering(
  get: (asking: Asking) => Promise<Resource | undefined>,
  asking: Asking,
): (lost: AbortSignal) => Promise<Resource | undefined> {
  return async (lost) => {
    const own = new AbortController()
    const letGo = (): void => asking.signal.removeEventListener('abort', stop)
    const stop = (): void => {
      letGo()
      own.abort(aborted('resource', lost.aborted ? lost : asking.signal))
    }
    lost.addEventListener('abort', stop, { once: true })
    asking.signal.addEventListener('abort', stop)
    try {
      const resource = await get({ ...asking, signal: own.signal })
      if (resource) return { ...resource, body: closing(resource.body, letGo, stop) }
      letGo()
      return undefined
    } catch (error) {
      letGo()
      throw error
    }
  }
}

/** A body that tells when it is over, and whose source is stopped when its reader leaves early, even before the first chunk. */
function closing(body: AsyncIterable<Uint8Array>, over: () => void, stop: () => void): AsyncIterable<Uint8Array> {
  return {
    [Symbol.asyncIterator]() {
      const chunks = body[Symbol.asyncIterator]()
      return {
        async next() {
          try {
            const step = await chunks.next()
            if (step.done === true) over()
            return step
          } catch (error) {
            over()
            throw error
          }
        },
        async return() {
          // First the signal: a generator that waits for its source would only hear of its return afterwards.
          stop()
          await chunks.return?.().catch(() => {})
          return { done: true, value: undefined }
        },
      }
    },
  }
}
