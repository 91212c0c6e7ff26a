// Whether this machine's clock is right, by what the caches say.

import { printDuration } from '../units.ts'
import type { Visit } from '../upstreams/visit.ts'
import type { Finding } from './finding.ts'

/** Milliseconds. Below the first a Date, which has whole seconds, says nothing; from the second on certificates look invalid. */
const [tolerated, grave] = [30_000, 60 * 60_000]

/** Compares it with the Date of every answer (and its Age, RFC 9111, 4.2.3): the middle one counts, should one cache be wrong itself. */
export function judgeClock(visits: readonly Pick<Visit, 'headers' | 'at'>[]): Finding {
  const about = 'clock'
  const offsets = visits.flatMap(({ headers, at }) => {
    const date = Date.parse(headers.date ?? '')
    const age = /^\d{1,9}$/.test(headers.age ?? '') ? Number(headers.age) * 1000 : 0
    return Number.isNaN(date) ? [] : [at - date - age]
  })
  const offset = offsets.toSorted((a, b) => a - b)[Math.floor(offsets.length / 2)]
  if (offset === undefined) return { level: 'note', about, says: 'nobody who answered said what time it is' }
  const off = Math.abs(offset)
  if (off <= tolerated)
    return {
      level: 'ok',
      about,
      says: `agrees with that of ${offsets.length === 1 ? 'a cache' : `${offsets.length} caches`}`,
    }
  const far = printDuration(Math.round(off / (off < 120_000 ? 1000 : 60_000)) * (off < 120_000 ? 1000 : 60_000))
  return {
    level: off >= grave ? 'problem' : 'warning',
    about,
    says: `is ${far} ${offset > 0 ? 'ahead of' : 'behind'} the caches'`,
    do: 'Set it (timedatectl set-ntp true): certificates and signed messages of peers are judged by it',
  }
}
