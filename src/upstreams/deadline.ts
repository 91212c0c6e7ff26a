// Bounds in time for whatever takes an AbortSignal.

import { ProxyError } from '../errors.ts'
import { reasonOf } from './gate.ts'

/**
 * Runs something that must be done within so many ms, or when the caller's signal says stop.
 * @throws ProxyError `timeout` when the time is over, and what `run` throws
 */
export async function within<T>(ms: number, signal: AbortSignal, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const own = new AbortController()
  const stop = (): void => own.abort(reasonOf(signal))
  if (signal.aborted) stop()
  signal.addEventListener('abort', stop, { once: true })
  const timer = setTimeout(() => own.abort(new ProxyError('timeout', `no whole answer within ${ms} ms`)), ms)
  try {
    return await run(own.signal)
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
  }
}
