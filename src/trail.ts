// The one record of a question: who was asked, when, what came back, whose signature. The access line, Cache-Status, the metrics
// and the operator's explanations read it; nobody else keeps books.

import { codeOf, messageOf, type ErrorCode } from './errors.ts'

/** What one substituter answered. `pending` in a finished trail means that another was faster. */
export type Outcome =
  | { readonly kind: 'pending' }
  /** It has the path, and a signature of this trusted key (`ca`: the path proves itself; undefined: no keys configured). */
  | { readonly kind: 'found'; readonly signedBy: string | undefined }
  | { readonly kind: 'missed' }
  /** It has a narinfo that we do not take: no trusted signature, or not the bytes that were asked for. */
  | { readonly kind: 'refused'; readonly why: string }
  /** It was not asked: circuit open, wrong store directory, remembered miss … */
  | { readonly kind: 'skipped'; readonly why: string }
  | { readonly kind: 'failed'; readonly code: ErrorCode | undefined; readonly why: string }

/** One substituter's part in a question. */
export interface TrailEntry {
  readonly who: string
  /** Name of the stratum it was asked in; `store` for our own disk. */
  readonly stratum: string
  /** Milliseconds by the monotonic clock, from the beginning of the trail. */
  readonly askedAt: number
  answeredAt: number | undefined
  outcome: Outcome
}

export class Trail {
  /** Milliseconds by the monotonic clock (performance.now()). */
  readonly startedAt = performance.now()
  readonly entries: TrailEntry[] = []
  /** Name of the substituter whose answer was taken. */
  winner: string | undefined

  /** Writes down that somebody is being asked; the caller settles the entry. */
  ask(who: string, stratum: string): TrailEntry {
    const entry: TrailEntry = {
      who,
      stratum,
      askedAt: performance.now() - this.startedAt,
      answeredAt: undefined,
      outcome: { kind: 'pending' },
    }
    this.entries.push(entry)
    return entry
  }

  settle(entry: TrailEntry, outcome: Outcome): void {
    entry.outcome = outcome
    entry.answeredAt = performance.now() - this.startedAt
  }

  /** Settles an entry by what was thrown; being told to stop is not a failure, the entry stays pending. */
  fail(entry: TrailEntry, error: unknown): void {
    const code = codeOf(error)
    if (code !== 'aborted') this.settle(entry, { kind: 'failed', code, why: messageOf(error) })
  }

  /** Takes over what another trail recorded: the lookup that several clients waited for. */
  adopt(other: Trail): void {
    const shift = other.startedAt - this.startedAt
    for (const entry of other.entries) {
      this.entries.push({
        ...entry,
        askedAt: entry.askedAt + shift,
        answeredAt: entry.answeredAt === undefined ? undefined : entry.answeredAt + shift,
      })
    }
    this.winner = other.winner
  }

  /** Milliseconds since the question began. */
  get elapsed(): number {
    return performance.now() - this.startedAt
  }
}
