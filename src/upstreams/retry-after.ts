// The Retry-After header (RFC 9110, 10.2.3): seconds, or a date.

/** Nobody keeps us away for longer than this, ms. */
const longest = 60_000

/**
 * How long an upstream wants to be left alone, in ms from now, at most a minute.
 * @param now milliseconds since 1970, by the wall clock, for the date form
 * @returns undefined where there is no such header, it makes no sense, or the time is over
 */
export function retryAfter(header: string | readonly string[] | undefined, now: number): number | undefined {
  const text = (typeof header === 'string' ? header : header?.[0])?.trim() ?? ''
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now
  return ms > 0 ? Math.min(ms, longest) : undefined
}
