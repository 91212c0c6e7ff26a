// Whether a response is the NAR, or the very part of it, that was asked for (edge cases 67, 68, 76, 77, 88).

import { ProxyError } from '../errors.ts'
import type { NarInfo } from '../nix/narinfo.ts'
import type { ByteRange } from '../substituter.ts'
import type { UpstreamResponse } from './client.ts'

export interface Extent {
  /** Of the whole NAR file; undefined when nobody said. */
  readonly size: number | undefined
  /** Of this response; undefined when nobody said. */
  readonly expected: number | undefined
}

/**
 * How long the whole file and this response are, by what the response says.
 * @throws ProxyError `damaged` for a response that is not what was asked: 200 to a Range, 206 to none, another part
 */
export function extentOf(
  { status, headers }: Pick<UpstreamResponse, 'status' | 'headers'>,
  range: ByteRange | undefined,
): Extent {
  const length = sizeOf(headers['content-length'])
  const extent = range === undefined ? whole(status, length) : part(status, headers['content-range'], range)
  if (length !== undefined && length !== extent.expected)
    damaged(`sent ${length} bytes for a part of ${extent.expected}`)
  return extent
}

/**
 * The same for a NAR. FileSize is the sender's word and may be wrong (edge case 32); NarSize is signed, and counts where the NAR
 * travels as it is.
 * @throws ProxyError `damaged` as `extentOf`, and for an encoding, an empty NAR, a length that cannot be
 */
export function narExtent(
  response: Pick<UpstreamResponse, 'status' | 'headers'>,
  range: ByteRange | undefined,
  info: Pick<NarInfo, 'compression' | 'narSize'> & Partial<Pick<NarInfo, 'fileSize'>>,
): Extent {
  refuseEncoding(response)
  const { size, expected } = extentOf(response, range)
  if (size === 0) damaged('sent an empty NAR')
  // Either may be wrong of a NAR; both together are a portal's page, and somebody else can be asked before it has gone out.
  if (response.headers['content-type']?.startsWith('text/html') === true && size !== info.fileSize) {
    damaged(`sent a web page of ${size ?? 'unknown'} bytes for a NAR`)
  }
  const known = info.compression === 'none' ? info.narSize : undefined
  if (known !== undefined && size !== undefined && size !== known) damaged(`has ${size} bytes of a NAR of ${known}`)
  return { size: size ?? known, expected: expected ?? known }
}

/** @throws ProxyError `damaged` for any Content-Encoding: the bytes would not be the file's, and no part of it would fit another */
export function refuseEncoding({ headers }: Pick<UpstreamResponse, 'headers'>): void {
  const encoding = headers['content-encoding']?.trim().toLowerCase() ?? ''
  if (encoding !== '' && encoding !== 'identity') damaged(`sent a file with Content-Encoding ${encoding}`)
}

/** The most that a NAR file can have where nobody says how long it is: compression that fails adds little. */
export function mostBytes({ fileSize = 0, narSize }: Pick<NarInfo, 'fileSize' | 'narSize'>): number {
  return Math.max(fileSize, narSize + Math.ceil(narSize / 16) + 64 * 1024)
}

function whole(status: number, length: number | undefined): Extent {
  if (status !== 200) damaged(`answered ${status} where no Range was asked`)
  return { size: length, expected: length }
}

/** `bytes 100-199/1000`, where the total must be known: without it a short part cannot be told from the rest. */
function part(status: number, contentRange: string | undefined, { start, end }: ByteRange): Extent {
  if (status !== 206) damaged(`answered ${status} to a Range`)
  const [, first, last, total] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(contentRange?.trim() ?? '') ?? []
  const size = Number(total)
  if (Number(first) !== start || Number(last) !== Math.min(end ?? Infinity, size - 1) || start >= size) {
    damaged(`sent Content-Range ${contentRange ?? '(none)'} for ${start}-${end ?? ''}`)
  }
  return { size, expected: Number(last) - start + 1 }
}

function sizeOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const size = /^\d+$/.test(text) ? Number(text) : NaN
  return Number.isSafeInteger(size) ? size : damaged(`Content-Length ${text}`)
}

function damaged(what: string): never {
  throw new ProxyError('damaged', what)
}
