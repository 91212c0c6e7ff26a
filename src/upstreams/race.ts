// The race: the first who has it wins, the others are told to stop, and nobody waits for one who does not answer.

import { codeOf, messageOf, ProxyError } from '../errors.ts'

/** How many failures one sentence names. */
const namedAtMost = 5
/** Milliseconds: setTimeout takes no more than 2^31 - 1, and fires at once for anything above. */
const longestTimer = 2 ** 31 - 1

export interface Entrant<T> {
  /** Milliseconds before the next entrant starts though this one has not answered; 0 starts it at once, Infinity never. */
  readonly hedge: number
  /**
   * Undefined when it has nothing, rejects when it could not answer. Its own signal fires when another has won or the asker has
   * gone; the winner's never fires because of this race.
   */
  enter(signal: AbortSignal): Promise<T | undefined>
}

/**
 * Starts the entrants in their order and gives the first answer that is not undefined. The next one starts as soon as the one
 * before it has come back with nothing or failed, and at the latest when that one's hedge is over: then nobody who has started is
 * still worth waiting for alone.
 *
 * Undefined when all came back with nothing. When nobody has it and somebody failed, rejects with a ProxyError 'unreachable'
 * ('timeout' when every failure was one) whose sentence begins with `who` and names those who failed, and whose cause is an
 * AggregateError of what they threw. Rejects with 'aborted', at once, when `signal` fires.
 */
export function race<T>(who: string, entrants: readonly Entrant<T>[], signal: AbortSignal): Promise<T | undefined> {
  const [first] = entrants
  return first && entrants.length === 1 ? alone(who, first, signal) : among(who, entrants, signal)
}

/** A race of one: there is nobody to be told to stop, so the asker's own signal does (a signal costs as much as a small query). */
function alone<T>(who: string, entrant: Entrant<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(aborted(who, signal))
    if (signal.aborted) return stop()
    signal.addEventListener('abort', stop)
    const end = (): void => signal.removeEventListener('abort', stop)
    enter(entrant, signal).then(
      (answer) => {
        end()
        resolve(answer)
      },
      (error: unknown) => {
        end()
        reject(nobody(who, [error]))
      },
    )
  })
}

function among<T>(who: string, entrants: readonly Entrant<T>[], signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(aborted(who, signal))
      return
    }
    const running = new Set<AbortController>()
    const failures: unknown[] = []
    let started = 0
    let hedge: NodeJS.Timeout | undefined
    let over = false

    const end = (): void => {
      over = true
      clearTimeout(hedge)
      signal.removeEventListener('abort', stop)
    }
    const stop = (): void => {
      end()
      const reason = aborted(who, signal)
      for (const loser of running) loser.abort(reason)
      reject(reason)
    }
    const win = (controller: AbortController, answer: T): void => {
      end()
      running.delete(controller)
      const reason = running.size > 0 ? new ProxyError('aborted', `${who}: another was faster`) : undefined
      for (const loser of running) loser.abort(reason)
      resolve(answer)
    }
    /** One has come back without an answer; `place` is which one it was, counted from 1. */
    const pass = (controller: AbortController, place: number): void => {
      running.delete(controller)
      if (place === started) startNext()
      if (over || running.size > 0 || started < entrants.length) return
      end()
      if (failures.length === 0) resolve(undefined)
      else reject(nobody(who, failures))
    }
    const start = async (entrant: Entrant<T>): Promise<void> => {
      started += 1
      const place = started
      const controller = new AbortController()
      running.add(controller)
      try {
        const answer = await enter(entrant, controller.signal)
        if (over) return
        if (answer === undefined) pass(controller, place)
        else win(controller, answer)
      } catch (error) {
        if (over) return
        failures.push(error)
        pass(controller, place)
      }
    }
    const startNext = (): void => {
      clearTimeout(hedge)
      const entrant = entrants[started]
      if (!entrant) return
      void start(entrant)
      if (over) return
      if (entrant.hedge === 0) startNext()
      else if (entrant.hedge <= longestTimer) hedge = setTimeout(startNext, entrant.hedge)
    }

    if (entrants.length === 0) {
      resolve(undefined)
      return
    }
    signal.addEventListener('abort', stop)
    startNext()
  })
}

/** Starts at once, and makes a rejection of whatever is thrown at once. */
async function enter<T>(entrant: Entrant<T>, signal: AbortSignal): Promise<T | undefined> {
  return entrant.enter(signal)
}

/** What is thrown when a signal has fired: whoever asked has gone. Its reason is the cause. */
export function aborted(who: string, signal: AbortSignal): ProxyError {
  return new ProxyError('aborted', `${who}: no longer wanted`, { cause: signal.reason })
}

/** Tells the failures of a race from those of one connection that was tried at several addresses. */
class RaceFailures extends AggregateError {}

/** Nobody had it and somebody failed. Failures of races within this one are named one by one. */
function nobody(who: string, failures: readonly unknown[]): ProxyError {
  const all = failures.flatMap((failure): readonly unknown[] =>
    failure instanceof ProxyError && failure.cause instanceof RaceFailures ? failure.cause.errors : [failure],
  )
  const code = all.every((failure) => codeOf(failure) === 'timeout') ? 'timeout' : 'unreachable'
  const named = all.slice(0, namedAtMost).map(messageOf)
  if (all.length > named.length) named.push(`and ${all.length - named.length} more`)
  return new ProxyError(code, `${who}: nobody had it, and ${all.length} could not answer: ${named.join('; ')}`, {
    cause: new RaceFailures(all, `${all.length} failed`),
  })
}
