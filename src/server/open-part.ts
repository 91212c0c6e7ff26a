// Opens a NAR at the range that a client asked for, and finds out how long the whole is: from who sends it, not from the narinfo.

import { codeOf, ProxyError } from '../errors.ts'
import type { NarInfo } from '../nix/narinfo.ts'
import type { ByteRange, Nar, Substitute } from '../substituter.ts'
import { rangeWithin, type AskedRange } from './range.ts'
import { release } from './send-body.ts'

export type Opened =
  /** The whole. Without a size it is sent in chunks. */
  | { readonly kind: 'whole'; readonly nar: Nar }
  | { readonly kind: 'part'; readonly nar: Nar; readonly part: Required<ByteRange>; readonly size: number }
  /** It has none of the bytes that were asked for. */
  | { readonly kind: 'outside'; readonly size: number | undefined }

/** Bytes of a NAR file as its narinfo says, which may be wrong: nobody signs it. Good enough where no body follows. */
export function statedSize({ fileSize, compression, narSize }: NarInfo): number | undefined {
  return fileSize ?? (compression === 'none' ? narSize : undefined)
}

/**
 * Opens the NAR, or the asked part of it. Rejects with a ProxyError when it cannot be opened.
 *
 * A part needs a Content-Range, and that needs the end. When the size is not known before the last byte has come (an upstream that
 * sends chunks and no FileSize), the client is made to wait until it has: the whole is read through, and the part opened then. The
 * whole under a 200, as an answer to somebody who resumes, would be given up and asked for again five times over.
 */
export async function openPart(
  substitute: Substitute,
  asked: AskedRange | undefined,
  signal: AbortSignal,
): Promise<Opened> {
  if (!asked) return { kind: 'whole', nar: await substitute.open(undefined, signal) }
  // What nobody reads in the end is let go of last, so that a fill has somebody who waits for it all the while.
  const unread: Nar[] = []
  const open = async (range: ByteRange | undefined): Promise<Nar> => {
    const nar = await substitute.open(range, signal)
    unread.push(nar)
    return nar
  }
  const used = (nar: Nar): Nar => {
    unread.splice(unread.indexOf(nar), 1)
    return nar
  }
  try {
    if (asked.kind === 'from') {
      const { start, end } = asked
      const nar = await open(end === undefined ? { start } : { start, end })
      const { size } = nar
      if (size !== undefined) {
        const part = rangeWithin(asked, size)
        return part ? { kind: 'part', nar: used(nar), part, size } : { kind: 'outside', size }
      }
    }
    const whole = await open(undefined)
    const size = whole.size ?? (await length(used(whole)))
    const part = rangeWithin(asked, size)
    if (!part) return { kind: 'outside', size }
    const nar = await open(part)
    if (nar.size !== undefined && nar.size !== size) {
      throw new ProxyError('damaged', `server: a NAR of ${size} bytes from ${substitute.from} has ${nar.size} now`)
    }
    return { kind: 'part', nar: used(nar), part, size }
  } catch (error) {
    if (codeOf(error) !== 'bad-range') throw error
    return { kind: 'outside', size: statedSize(substitute.narinfo) }
  } finally {
    for (const nar of unread) release(nar.body)
  }
}

/** Bytes of a NAR, by reading it to its end. */
async function length({ body }: Nar): Promise<number> {
  let bytes = 0
  for await (const chunk of body) bytes += chunk.byteLength
  return bytes
}
