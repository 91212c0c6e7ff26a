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
  return Promise.all(
    strata.map(async ({ name, hedge, members }) => ({
      name,
      hedge,
      members: await Promise.all(members().map((member) => hear(member, wanted, signal, loop))),
    })),
  )
}

async function hear(
  member: Substituter,
  wanted: Wanted,
  signal: AbortSignal,
  loop: readonly string[],
): Promise<SurveyedMember> {
  const { name } = member
  const trail = new Trail()
  try {
    const substitute = await member.find(wanted, { signal, loop, trail })
    return { name, trail, ms: trail.elapsed, failed: false, substitute }
  } catch {
    // Why is in the trail.
    return { name, trail, ms: signal.aborted ? undefined : trail.elapsed, failed: true, substitute: undefined }
  }
}
