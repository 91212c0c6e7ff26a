// What a measure is given, and what it gives.

import type { Cache } from './cache.ts'
import type { Contestant } from './contestants.ts'

export interface Bench {
  readonly cache: Cache
  /** nginx with the cache, nothing in between: the upstream of everybody. */
  readonly origin: URL
  /** Another nginx with the same files: what a static server gives. */
  readonly still: URL
  /** Programs that were named on the command line. */
  readonly others: readonly Contestant[]
  readonly rounds: number
  /** Length of one load. */
  readonly seconds: number
  /** Everything small: does the bench work? */
  readonly short: boolean
  /** An empty directory that is removed at the end. */
  scratch(name: string): Promise<string>
  /** A directory that outlives the run where `--work` was given. */
  kept(name: string): string
  /** Says what is going on. */
  say(text: string): void
}

export interface Measure {
  /** As in the table of the README. */
  readonly number: number
  readonly name: string
  run(bench: Bench): Promise<readonly Figure[]>
}

/** One line of the table. */
export interface Figure {
  readonly what: string
  readonly unit: string
  /** Medians, by contestant. */
  readonly values: Readonly<Record<string, number>>
  /** What is promised; undefined: shown for scale. */
  readonly promise?: Promised | undefined
}

export interface Promised {
  /** What is compared: `Substrata ÷ nginx`. */
  readonly of: string
  readonly value: number
  readonly limit: number
  readonly sense: 'at least' | 'at most'
  readonly unit?: string
}

export function atLeast(of: string, value: number, limit: number, unit = ''): Promised {
  return { of, value, limit, sense: 'at least', unit }
}

export function atMost(of: string, value: number, limit: number, unit = ''): Promised {
  return { of, value, limit, sense: 'at most', unit }
}

export function isKept({ value, limit, sense }: Promised): boolean {
  return sense === 'at least' ? value >= limit : value <= limit
}
