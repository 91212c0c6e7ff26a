// One client's question: whom it came through, whether it may be asked further, and until when anybody waits for the answer.

import type { IncomingMessage } from 'node:http'

import { codeOf, ProxyError } from '../errors.ts'
import type { Asking } from '../substituter.ts'
import { Trail } from '../trail.ts'

/** Proxies that a question may have come through. More than any sane event has in a row. */
const mostHops = 8

/** RFC 9111, 5.2.1.7: peers ask each other so, and no node fetches on behalf of another. */
const onlyIfCachedPattern = /(?:^|,)\s*only-if-cached\s*(?:,|$)/i

const nobody: readonly string[] = []

export interface Question {
  readonly asking: Asking
  readonly trail: Trail
  /** Only what is on disk is wanted; 504 when it is not. */
  readonly onlyIfCached: boolean
  /** It has come through this proxy before, or through too many: the answer is no. */
  readonly circular: boolean
  /** The client has gone: whatever fails now is no failure. */
  hungUp(): boolean
  /** What was thrown, or, where it was thrown because of it, the deadline's `timeout`. */
  reason(error: unknown): unknown
  /** It has been answered as to what there is: a transfer may last. */
  liftDeadline(): void
  /** Tells everything that still works for it to stop: a body that nobody reads is freed. */
  stop(): void
  /** It is over. */
  close(): void
}

/** The client has gone. No failure: nobody is told, and nothing is counted against anybody. */
export class HungUp extends ProxyError {
  constructor() {
    super('aborted', 'client: hung up')
  }
}

export interface QuestionOptions {
  /** Milliseconds. */
  readonly deadline: number
  readonly instanceId: string
}

/**
 * Opens a client's question. Its signal fires when the client hangs up or the deadline passes, and is made when somebody first asks
 * for it: with an AbortController, a timer and a listener each, a hit would cost half as much again (36 000 instead of 52 000 a
 * second, measured).
 */
export function openQuestion(incoming: IncomingMessage, { deadline, instanceId }: QuestionOptions): Question {
  const trail = new Trail()
  const loop = loopOf(incoming.headers['cdn-loop'])
  const cacheControl = incoming.headers['cache-control']
  let controller: AbortController | undefined
  let timer: NodeJS.Timeout | undefined
  let gone = false
  let late: ProxyError | undefined
  let lifted = false

  const hangUp = (): void => {
    gone = true
    controller?.abort(new HungUp())
  }
  const open = (): AbortController => {
    const opened = new AbortController()
    // The request's close and not the response's: a pipelined one behind another has no socket yet, and would never hear of it.
    if (incoming.destroyed) opened.abort(new HungUp())
    else incoming.once('close', hangUp)
    if (lifted) return opened
    timer = setTimeout(() => {
      late = new ProxyError('timeout', `server: no answer within ${deadline} ms`)
      opened.abort(late)
    }, deadline)
    return opened
  }
  const liftDeadline = (): void => {
    lifted = true
    clearTimeout(timer)
  }

  return {
    // The getter is the object's own, so that a copy of it (`{ ...asking, avoid }`) has a signal too.
    asking: {
      get signal() {
        controller ??= open()
        return controller.signal
      },
      trail,
      loop,
    },
    trail,
    onlyIfCached: cacheControl !== undefined && onlyIfCachedPattern.test(cacheControl),
    circular: loop.length > mostHops || loop.includes(instanceId),
    hungUp: () => gone || incoming.destroyed,
    reason: (error) => (late && codeOf(error) === 'aborted' ? late : error),
    liftDeadline,
    stop: () => controller?.abort(new ProxyError('aborted', 'server: the question is over')),
    close() {
      liftDeadline()
      if (controller) incoming.off('close', hangUp)
    },
  }
}

/** RFC 8586: `CDN-Loop: a1b2c3, d4e5f6; v=1` has come through a1b2c3, then d4e5f6. */
function loopOf(header: string | string[] | undefined): readonly string[] {
  if (header === undefined) return nobody
  return String(header)
    .split(',')
    .map((hop) => (hop.split(';', 1)[0] ?? '').trim())
    .filter((hop) => hop !== '')
}
