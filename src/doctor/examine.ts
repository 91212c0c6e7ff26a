// Runs all checks at once, each within its time; one that cannot be made is a finding too.

import { messageOf, ProxyError } from '../errors.ts'
import { levels, type Finding } from './finding.ts'

export interface Check {
  /** What it is about, should it fail. */
  readonly about: string
  run(signal: AbortSignal): Promise<readonly Finding[]>
}

/** The findings of all checks, the worst first, else in the order of the checks. Rejects with the signal's reason, at once. */
export async function examine(
  checks: readonly Check[],
  timeout: number,
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  const over = AbortSignal.any([signal, AbortSignal.timeout(timeout)])
  // A check is told to stop, and not waited for if it does not.
  const late = new Promise<never>((_, reject) => {
    const stop = (): void => reject(new ProxyError('timeout', `not found out within ${timeout} ms`))
    if (over.aborted) stop()
    else over.addEventListener('abort', stop, { once: true })
  })
  late.catch(() => {})
  const found = await Promise.all(checks.map((check) => made(check, late, over)))
  signal.throwIfAborted()
  return found.flat().toSorted((a, b) => levels.indexOf(a.level) - levels.indexOf(b.level))
}

async function made(check: Check, late: Promise<never>, signal: AbortSignal): Promise<readonly Finding[]> {
  try {
    return await Promise.race([check.run(signal), late])
  } catch (error) {
    return [{ level: 'warning', about: check.about, says: `could not be checked: ${messageOf(error)}` }]
  }
}
