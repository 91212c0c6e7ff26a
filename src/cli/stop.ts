// When to stop: at the first signal in peace, at the second at once.

/** Signals that ask us to stop: Ctrl-C, a service manager, the terminal being closed. */
export const stopSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Where `sh` is bash, `npm start` passes a Ctrl-C on to us that the terminal has sent us already, under a millisecond later. Within
 * this time it is the same one. Milliseconds.
 */
const sameKeyPress = 300

export interface StopOptions {
  /** Called at the second signal. */
  readonly atOnce: () => void
  /** Milliseconds by the monotonic clock. */
  readonly clock?: () => number
}

/** A signal handler, and the AbortSignal that it aborts the first time. */
export function stopOnSignal({ atOnce, clock = () => performance.now() }: StopOptions) {
  const stopping = new AbortController()
  let firstAt = 0
  const hear = (): void => {
    if (stopping.signal.aborted) {
      if (clock() - firstAt > sameKeyPress) atOnce()
      return
    }
    firstAt = clock()
    stopping.abort()
  }
  return { hear, stop: stopping.signal }
}
