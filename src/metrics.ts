// Every figure the proxy keeps, in one registry. Labels are bounded: configured names, stratum names and closed lists, never a path.

import { Counter, Gauge, Histogram, Registry } from 'prom-client'

import type { Trail } from './trail.ts'

/** Seconds: from a hit in memory to a narinfo deadline. */
const lookupBuckets = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export class Metrics {
  readonly registry = new Registry()
  readonly #registers = [this.registry]

  readonly asked = new Counter({
    name: 'substrata_upstream_asked_total',
    help: 'Questions that reached this upstream or peer.',
    labelNames: ['stratum', 'upstream'] as const,
    registers: this.#registers,
  })
  readonly answered = new Counter({
    name: 'substrata_upstream_answers_total',
    help: 'What came of them: won, found (but another was faster), missed, refused, skipped, outrun, or failed:<kind>.',
    labelNames: ['stratum', 'upstream', 'outcome'] as const,
    registers: this.#registers,
  })
  readonly answerSeconds = new Histogram({
    name: 'substrata_upstream_answer_seconds',
    help: 'From asking to the answer, found or missed.',
    labelNames: ['stratum', 'upstream'] as const,
    buckets: lookupBuckets,
    registers: this.#registers,
  })
  readonly narinfos = new Counter({
    name: 'substrata_narinfo_requests_total',
    help: 'Narinfo requests by where the answer came from: hit, found, missed, unreachable, bad-request.',
    labelNames: ['outcome'] as const,
    registers: this.#registers,
  })
  readonly nars = new Counter({
    name: 'substrata_nar_requests_total',
    help: 'NAR requests by what came of them: hit, fill, passed, missed, failed, hung-up.',
    labelNames: ['outcome'] as const,
    registers: this.#registers,
  })
  readonly narBytes = new Counter({
    name: 'substrata_nar_sent_bytes_total',
    help: 'NAR bytes sent to clients.',
    registers: this.#registers,
  })
  readonly fills = new Counter({
    name: 'substrata_fills_total',
    help: 'Finished fills: committed, unkept (streamed but not stored), continued (another source took over), or failed:<kind>.',
    labelNames: ['outcome'] as const,
    registers: this.#registers,
  })
  readonly filledBytes = new Counter({
    name: 'substrata_filled_bytes_total',
    help: 'NAR bytes fetched from upstreams and peers.',
    registers: this.#registers,
  })
  readonly evictions = new Counter({
    name: 'substrata_evictions_total',
    help: 'NARs removed to keep the byte budget.',
    registers: this.#registers,
  })
  readonly evictedBytes = new Counter({
    name: 'substrata_evicted_bytes_total',
    help: 'Bytes removed to keep the byte budget.',
    registers: this.#registers,
  })
  readonly uploads = new Counter({
    name: 'substrata_uploads_total',
    help: 'Uploads by what came of them: committed, or refused:<kind>.',
    labelNames: ['outcome'] as const,
    registers: this.#registers,
  })

  /** Counts one finished question: once per lookup, however many clients waited for it. */
  count(trail: Trail): void {
    for (const { who: upstream, stratum, askedAt, answeredAt, outcome } of trail.entries) {
      if (outcome.kind !== 'skipped') this.asked.inc({ stratum, upstream })
      const won = outcome.kind === 'found' && trail.winner === upstream
      this.answered.inc({ stratum, upstream, outcome: won ? 'won' : word(outcome) })
      const answer = outcome.kind === 'found' || outcome.kind === 'missed'
      if (answer && answeredAt !== undefined) {
        this.answerSeconds.observe({ stratum, upstream }, (answeredAt - askedAt) / 1000)
      }
    }
  }

  /** A figure that is read when somebody asks for the metrics. */
  gauge(name: string, help: string, read: () => number): void {
    const gauge: Gauge = new Gauge({ name, help, registers: this.#registers, collect: () => gauge.set(read()) })
  }

  /** One of a few states, read when somebody asks for the metrics: 1 for the one that holds, 0 for the others. */
  states<S extends string>(name: string, help: string, states: readonly S[], read: () => S): void {
    const collect = (): void => {
      const now = read()
      for (const state of states) gauge.set({ state }, state === now ? 1 : 0)
    }
    const gauge = new Gauge({ name, help, labelNames: ['state'] as const, registers: this.#registers, collect })
  }

  /** The whole registry in the Prometheus text format. */
  text(): Promise<string> {
    return this.registry.metrics()
  }
}

function word(outcome: Trail['entries'][number]['outcome']): string {
  if (outcome.kind === 'pending') return 'outrun'
  return outcome.kind === 'failed' ? `failed:${outcome.code ?? 'unknown'}` : outcome.kind
}
