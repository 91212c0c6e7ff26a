// Narinfos as they leave: printed once, and sent as often as they are asked for.

import { hash } from 'node:crypto'
import type { OutgoingHttpHeaders } from 'node:http'

import { narUrl } from '../nix/nar-url.ts'
import { printNarInfo, type NarInfo } from '../nix/narinfo.ts'
import { hit } from './cache-status.ts'

/** A narinfo that a cache in between may keep, in seconds: short, for paths get signatures and are rebuilt. */
const maxAge = 300

/** A narinfo with our NAR URL, and the headers that go with it. */
export interface Printed {
  /** For node as latin1. A string where it is of ASCII letters alone: head and body leave in one piece then. */
  readonly body: Buffer | string
  readonly bytes: number
  readonly etag: string
  /** All but Cache-Status. */
  readonly headers: OutgoingHttpHeaders
  readonly hitHeaders: OutgoingHttpHeaders
}

export class PrintedNarInfos {
  readonly #known = new WeakMap<NarInfo, Printed>()

  of(narinfo: NarInfo): Printed {
    const known = this.#known.get(narinfo)
    if (known) return known
    const made = printedText(printNarInfo(narinfo, narUrl(narinfo)))
    this.#known.set(narinfo, made)
    return made
  }
}

/** The same for one that is text already. */
export function printedText(text: string): Printed {
  const bytes = Buffer.byteLength(text)
  const etag = `"${hash('sha256', text, 'base64url').slice(0, 27)}"`
  const headers = {
    'Content-Type': 'text/x-nix-narinfo',
    'Content-Length': bytes,
    ETag: etag,
    'Cache-Control': `public, max-age=${maxAge}`,
  }
  const body = bytes === text.length ? text : Buffer.from(text)
  return { body, bytes, etag, headers, hitHeaders: { ...headers, 'Cache-Status': hit } }
}
