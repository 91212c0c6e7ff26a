// Where the bytes of one NAR come from: opened at whoever gave the narinfo, and continued elsewhere by Range when that one dies.

import { setTimeout as delay } from 'node:timers/promises'

import { codeOf, messageOf, ProxyError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { Nar, Substitute } from '../substituter.ts'

/** Milliseconds that an opened NAR may take to answer before somebody else is asked as well. */
const openHedge = 400
/** Milliseconds that one whose length cannot be right waits for a better one. */
const misfitPatience = 3000
/** Milliseconds before everybody is tried again; doubled each round, with jitter. */
const firstPause = 100
/** Rounds through everybody that brought not one byte, until the NAR is given up. */
const fruitlessRounds = 4
/** Deaths that one NAR survives, so that a giver of one byte at a time does not keep us for ever. */
const mostDeaths = 32
/** So many of them in a row may bring less than this: at 20 s each that is within the 300 s that Nix waits for a byte. */
const mostPoorDeaths = 8
const poor = 1024

export interface NarSourceOptions {
  readonly substitute: Substitute
  /** Somebody else who has these exact bytes. Undefined: nobody; may reject. */
  readonly elsewhere: (avoid: ReadonlySet<string>, signal: AbortSignal) => Promise<Substitute | undefined>
  readonly signal: AbortSignal
  readonly log?: Log | undefined
  readonly metrics?: Metrics | undefined
}

interface Opened {
  readonly substitute: Substitute
  readonly nar: Nar
}

export class NarSource {
  readonly #options: NarSourceOptions
  readonly #givers: Substitute[]
  #current: Substitute
  #nar: Nar | undefined
  #position = 0
  #deaths = 0
  #poorDeaths = 0
  /** Where the present giver began. */
  #began = 0

  constructor(options: NarSourceOptions) {
    this.#options = { ...options }
    this.#current = options.substitute
    this.#givers = [options.substitute]
  }

  /** Name of the substituter that is being read from. */
  get from(): string {
    return this.#current.from
  }

  /** Everybody whose bytes are part of it: if it turns out wrong, one of these lied. */
  get givers(): readonly Substitute[] {
    return this.#givers
  }

  /**
   * Opens the NAR at a byte, at its giver and, if that one is slow or cannot, at another. Resolves to the size of the whole NAR file
   * in bytes (undefined: nobody said). Rejects with the giver's ProxyError when nobody could open it.
   */
  async open(start: number): Promise<number | undefined> {
    this.#position = start
    const { substitute, nar } = await this.#openHedged(this.#options.substitute, start)
    this.#take(substitute, nar)
    return nar.size
  }

  /**
   * The bytes from where it was opened to the end. Where the NAR's bytes are fixed by its FileHash (or it is not compressed), a giver
   * that dies is followed by another, or by the same once more.
   *
   * @param size of the whole NAR file in bytes, where it is known: neither more nor fewer are taken
   * @param isWhole whether all that was read so far is the file of FileHash; asked where only FileSize says that it may be
   */
  async *chunks(
    size: number | undefined,
    isWhole: () => Promise<boolean> = () => Promise.resolve(false),
  ): AsyncGenerator<Uint8Array, void, void> {
    const likely = size ?? this.#options.substitute.narinfo.fileSize ?? Infinity
    for (;;) {
      const nar = this.#nar
      if (!nar) throw new ProxyError('aborted', `${this.from}: the NAR is not open`)
      try {
        for await (const chunk of nar.body) {
          // Nobody needs what comes after the file, and what came before it may well be right.
          const [within, beyond] = split(chunk, likely - this.#position)
          if (within.length > 0) {
            this.#position += within.length
            yield within
          }
          if (beyond.length === 0) continue
          if (this.#position === size || (this.#position === likely && (await isWhole()))) return
          this.#position += beyond.length
          yield beyond
        }
        if (size === undefined || this.#position === size) return
        throw new ProxyError('damaged', `${this.from}: the NAR ended after ${this.#position} of ${size} bytes`)
      } catch (error) {
        this.#nar = undefined
        if (this.#options.signal.aborted) throw error
        // Every byte is here, whatever came after them: whether they are right is for their hash to say.
        if (this.#position === size) return
        await this.#goOn(error, size)
      }
    }
  }

  /** Opens the NAR where it broke off: at everybody else who has it, then, after a pause, at the dead as well. */
  async #goOn(death: unknown, size: number | undefined): Promise<void> {
    const { elsewhere, signal } = this.#options
    const { narinfo } = this.#options.substitute
    // A FileHash names the bytes of the compressed file; without one only an uncompressed NAR is the same everywhere.
    const sameEverywhere = narinfo.fileHash !== undefined || narinfo.compression === 'none'
    if (!sameEverywhere || ++this.#deaths > mostDeaths) throw death
    this.#poorDeaths = this.#position - this.#began < poor ? this.#poorDeaths + 1 : 0
    if (this.#poorDeaths > mostPoorDeaths) throw death
    // Where only the narinfo says how long it is, more than that is nothing that anybody could go on with.
    if (size === undefined && this.#position > (narinfo.fileSize ?? Infinity)) {
      throw new ProxyError('damaged', `${this.from}: sent more than the ${narinfo.fileSize} bytes of its FileSize`, {
        cause: death,
      })
    }
    const tried = new Set([this.from])
    let last = death
    for (let round = 0; round < fruitlessRounds;) {
      let next: Substitute | undefined
      try {
        next = await elsewhere(tried, signal)
        if (next && !tried.has(next.from)) {
          await this.#resume(next, tried, size, last)
          return
        }
      } catch (error) {
        if (signal.aborted) throw error
        // Having nobody else to ask says less than what those who were asked said.
        if (next || tried.size === 0) last = error
      }
      if (next && !tried.has(next.from)) {
        tried.add(next.from)
      } else {
        await delay(firstPause * 2 ** round * (0.5 + Math.random()), undefined, { signal })
        round++
        tried.clear()
      }
    }
    throw last
  }

  async #resume(next: Substitute, tried: ReadonlySet<string>, size: number | undefined, why: unknown): Promise<void> {
    const { log, metrics } = this.#options
    const { substitute, nar } = await this.#openHedged(next, this.#position, tried)
    if (size !== undefined && nar.size !== undefined && nar.size !== size) {
      await discard(nar)
      throw new ProxyError(
        'damaged',
        `${substitute.from}: has a NAR of ${nar.size} bytes under this FileHash, not ${size}`,
      )
    }
    const { path } = substitute.narinfo.storePath
    log?.info(`${substitute.from}: goes on with a NAR that broke off`, {
      path,
      at: this.#position,
      why: messageOf(why),
    })
    metrics?.fills.inc({ outcome: 'continued' })
    this.#take(substitute, nar)
  }

  /**
   * The first of two to answer: a giver, and after a hedge (or its failure) whoever else has the same bytes.
   *
   * @param tried of a resume: who has been asked for these bytes before
   */
  async #openHedged(substitute: Substitute, start: number, tried?: ReadonlySet<string>): Promise<Opened> {
    const { elsewhere, signal } = this.#options
    const avoid = new Set([...(tried ?? []), substitute.from])
    const range = start === 0 ? undefined : { start }
    const [first, second, failed] = [new AbortController(), new AbortController(), new AbortController()]
    let open = false
    let broken: Opened | undefined
    const attempt = async (from: Substitute, mine: AbortController, other: AbortController): Promise<Opened> => {
      const answered = await from.open(range, AbortSignal.any([signal, mine.signal]))
      const nar = await begun(answered).catch((error: unknown) => {
        if (!signal.aborted && !mine.signal.aborted) broken ??= { substitute: from, nar: dead(answered, error) }
        throw error
      })
      // Its own narinfo says another length: perhaps a file that was cut short, which whoever has all of it may save a client from.
      if (!tried && from === substitute && nar.size !== undefined && nar.size !== (from.narinfo.fileSize ?? nar.size)) {
        failed.abort()
        const waited = delay(misfitPatience, undefined, { signal: AbortSignal.any([signal, mine.signal]) })
        await Promise.race([waited.catch(() => {}), another.catch(() => {})])
      }
      if (open) {
        await discard(nar)
        throw new ProxyError('aborted', `${from.from}: another was faster`)
      }
      open = true
      other.abort()
      return { substitute: from, nar }
    }
    const giver = attempt(substitute, first, second).finally(() => failed.abort())
    const another = delay(openHedge, undefined, { signal: failed.signal })
      .catch(() => {})
      .then(async () => {
        if (open || signal.aborted) throw new ProxyError('aborted', `${substitute.from}: was fast enough`)
        const other = await elsewhere(avoid, AbortSignal.any([signal, second.signal]))
        if (!other || avoid.has(other.from))
          throw new ProxyError('gone', `${substitute.from}: nobody else has this NAR`)
        return attempt(other, second, first)
      })
    try {
      return await Promise.any([giver, another])
    } catch {
      // It is there, and died before its first byte: it may be gone on with as if it had died later.
      if (broken && !tried) return broken
      const [mine, others] = await Promise.all(
        [giver, another].map((failure) => failure.catch((error: unknown) => error)),
      )
      // Gone at its giver is the answer only if it is gone elsewhere too, not if elsewhere could not be asked.
      throw codeOf(mine) === 'gone' && codeOf(others) !== 'aborted' ? others : mine
    }
  }

  #take(substitute: Substitute, nar: Nar): void {
    this.#current = substitute
    this.#nar = nar
    this.#began = this.#position
    if (!this.#givers.includes(substitute)) this.#givers.push(substitute)
  }
}

/** The first `count` bytes (none below 0), and the others. */
function split(bytes: Uint8Array, count: number): readonly [Uint8Array, Uint8Array] {
  const at = Math.min(bytes.length, Math.max(0, count))
  return [bytes.subarray(0, at), bytes.subarray(at)]
}

/** The same NAR once its first bytes are here: a head with nothing after it is no answer yet. */
async function begun({ size, body }: Nar): Promise<Nar> {
  const chunks = body[Symbol.asyncIterator]()
  let first: IteratorResult<Uint8Array> | undefined = await chunks.next()
  const next = async (): Promise<IteratorResult<Uint8Array>> => {
    const step = first ?? (await chunks.next())
    first = undefined
    return step
  }
  const end = async (): Promise<IteratorResult<Uint8Array>> => {
    await chunks.return?.()
    return { done: true, value: undefined }
  }
  return { size, body: { [Symbol.asyncIterator]: () => ({ next, return: end }) } }
}

/** A NAR whose reading fails at once. */
function dead({ size }: Nar, error: unknown): Nar {
  return { size, body: { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }) } }
}

/** Lets go of an opened NAR that nobody will read. */
async function discard(nar: Nar): Promise<void> {
  await nar.body[Symbol.asyncIterator]().return?.()
}
