// Requests with a condition (RFC 9110, 13): whether the client has these bytes already, and whether its Range still fits them.

/** Whether If-None-Match names this entity tag (`"…"`), compared weakly: then the answer is 304. */
export function notModified(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false
  if (ifNoneMatch.trim() === '*') return true
  return (ifNoneMatch.match(/(?:W\/)?"[^"]*"/g) ?? []).some((tag) => tag.replace(/^W\//, '') === etag)
}

/** Whether a Range is to be followed: there is no If-Range, or it is exactly this tag. We send no dates, so a date never fits. */
export function rangeHolds(ifRange: string | string[] | undefined, etag: string | undefined): boolean {
  return ifRange === undefined || String(ifRange).trim() === etag
}
