// The Range header (RFC 9110, 14): one range of bytes is understood; whatever else stands there is ignored, as the RFC wants it.

import type { ByteRange } from '../substituter.ts'

/** `from`: bytes from `start` to `end` or the last one. `last`: that many at the end. */
export type AskedRange =
  | { readonly kind: 'from'; readonly start: number; readonly end: number | undefined }
  | { readonly kind: 'last'; readonly length: number }

/** Reads `bytes=0-99`, `bytes=100-` or `bytes=-500`. Undefined (serve the whole): several ranges, another unit, bad syntax. */
export function parseRange(header: string | undefined): AskedRange | undefined {
  const { first = '', last = '' } = /^bytes=[ \t]*(?<first>\d*)-(?<last>\d*)[ \t]*$/i.exec(header ?? '')?.groups ?? {}
  if (first === '') return last === '' ? undefined : { kind: 'last', length: whole(last) }
  // By all their digits: beyond 2^53 both are the same number here.
  if (last !== '' && BigInt(last) < BigInt(first)) return undefined
  return { kind: 'from', start: whole(first), end: last === '' ? undefined : whole(last) }
}

/** The asked range in a file of `size` bytes. Undefined when it has none of these bytes: 416. */
export function rangeWithin(asked: AskedRange, size: number): Required<ByteRange> | undefined {
  const start = asked.kind === 'from' ? asked.start : Math.max(0, size - asked.length)
  const end = Math.min(asked.kind === 'from' ? (asked.end ?? size - 1) : size - 1, size - 1)
  return start > end ? undefined : { start, end }
}

/** Any number of digits; beyond 2^53 every file has ended anyway. */
function whole(digits: string): number {
  return Math.min(Number(digits), Number.MAX_SAFE_INTEGER)
}
