// Where an answer came from, as the header Cache-Status says it (RFC 9211): `substrata; fwd=miss; stored; detail="cache.nixos.org"`.

import type { Trail } from '../trail.ts'

/** It was on our disk. */
export const hit = 'substrata; hit'

/** Whether our own disk had it. */
export function cameFromDisk(trail: Trail): boolean {
  return trail.entries.some(({ stratum, outcome }) => stratum === 'store' && outcome.kind === 'found')
}

/** Somebody else had it; `stored`: and we keep it. */
export function forwarded(from: string, { stored }: { readonly stored: boolean }): string {
  return `substrata; fwd=miss${stored ? '; stored' : ''}; detail=${quoted(from)}`
}

/** Nobody had it. */
export function missed(detail?: string): string {
  return detail === undefined ? 'substrata; fwd=miss' : `substrata; fwd=miss; detail=${quoted(detail)}`
}

/** It is not on disk, and nobody else was to be asked. */
export const notHeld = 'substrata; detail="not held"'

/** A string of RFC 9651: printable ASCII. Names of peers are strangers' words, and other characters would break the header. */
function quoted(text: string): string {
  return `"${text.replace(/[^\x20-\x7e]+/g, '?').replace(/["\\]/g, '\\$&')}"`
}
