// Asks everybody the real question and hears everybody out: for explanations, where a race would tell the slower ones to stop.

import type { SurveyedMember, SurveyedStratum } from '../explanation.ts'
import type { Asking, Substituter, Wanted } from '../substituter.ts'
import { Trail } from '../trail.ts'

export interface SurveyStratum {
  readonly name: string
  /** As in `Strata`. */
  readonly hedge: number
  readonly members: () => readonly Substituter[]
}

/**
 * What every member of every stratum answers, all asked at once, each with a trail of its own. Never rejects: who has not answered when
 * the signal fires is silent. No NAR is opened.
 */
export async function survey(
  wanted: Wanted,
  strata: readonly SurveyStratum[],
  { signal, loop }: Pick<Asking, 'signal' | 'loop'>,
): Promise<readonly SurveyedStratum[]> {
  // One listener on the asker's signal, however many are asked.
  const running = new Set<AbortController>()
  const stop = (): void => {
    for (const controller of running) controller.abort(signal.reason)
  }
  const ask = (member: Substituter): Promise<SurveyedMember> => {
    const controller = new AbortController()
    running.add(controller)
    return hear(member, wanted, controller.signal, loop)
  }
  signal.addEventListener('abort', stop, { once: true })
  try {
    const asked = strata.map(async ({ name, hedge, members }) => ({
      name,
      hedge,
      members: await Promise.all(members().map(ask)),
    }))
    if (signal.aborted) stop()
    return await Promise.all(asked)
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/** Not a moment longer than the signal, even where a member is deaf to it. */
function hear(
  member: Substituter,
  wanted: Wanted,
  signal: AbortSignal,
  loop: readonly string[],
): Promise<SurveyedMember> {
  const { name } = member
  const trail = new Trail()
  const silent: SurveyedMember = { name, trail, ms: undefined, failed: true, substitute: undefined }
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(silent), { once: true })
    member.find(wanted, { signal, loop, trail }).then(
      (substitute) => resolve({ name, trail, ms: trail.elapsed, failed: false, substitute }),
      // Why is in the trail.
      () => resolve({ ...silent, ms: trail.elapsed }),
    )
  })
}
