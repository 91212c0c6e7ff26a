// The access log: a line for every NAR, every miss and every failure. Narinfo hits are many and say nothing: only at debug.

import type { IncomingMessage } from 'node:http'

import { chain, silentLog, type Log, type LogFields, type LogLevel } from '../log.ts'
import type { Trail } from '../trail.ts'

export interface AccessLine {
  readonly status: number
  /** Name of the substituter that had it; `store` for our own disk. */
  readonly from?: string | undefined
  /** Of the body, as far as it was sent. */
  readonly bytes?: number | undefined
  /** Milliseconds, where no trail tells. */
  readonly ms?: number
  /** Why it is not what was asked for. */
  readonly why?: string | undefined
}

/** Writes the lines. Without a log it is silent. */
export class Access {
  readonly #log: Log

  constructor({ log = silentLog }: { readonly log?: Log | undefined }) {
    this.#log = log
  }

  /** Whether a line of this level would be written: the hot path asks first. */
  enabled(level: LogLevel): boolean {
    return this.#log.enabled(level)
  }

  /** One request that has been answered; with the trail of its question, how long it took and, on a failure, who was asked. */
  line(level: LogLevel, incoming: IncomingMessage, { status, from, bytes, ms, why }: AccessLine, trail?: Trail): void {
    if (!this.#log.enabled(level)) return
    const took = ms ?? trail?.elapsed
    const client = incoming.socket.remoteAddress
    const asked = why === undefined || !trail ? undefined : summary(trail)
    const fields: LogFields = { status, from, bytes, ms: took && Math.round(took), client, why, asked }
    this.#log[level](request(incoming), fields)
  }

  /** Something that must not happen: not a ProxyError, so a mistake of ours. */
  bug(incoming: IncomingMessage, error: unknown): void {
    const stack = error instanceof Error ? error.stack : undefined
    this.#log.error(`${request(incoming)}: ${chain(error)}`, { stack })
  }
}

/** `GET /nar/1b0lyf….nar.xz`. Without its query, which may be somebody's signature for a private bucket. */
function request({ method, url = '' }: IncomingMessage): string {
  return `${method} ${url.split('?', 1)[0]}`
}

/** Who was asked and what came of it, for a line about a failure: `near:missed cache.nixos.org:failed`. */
function summary(trail: Trail): string | undefined {
  if (trail.entries.length === 0) return undefined
  return trail.entries.map(({ who, outcome }) => `${who}:${outcome.kind}`).join(' ')
}
