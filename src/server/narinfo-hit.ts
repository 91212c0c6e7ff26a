// A narinfo whose path is held, and known at once, for a request that asks for nothing but that: answered at once. It is what is asked for most.

import type { IncomingMessage, ServerResponse } from 'node:http'

import { narFileUrl } from '../nix/nar-url.ts'
import { withUrl } from '../nix/narinfo.ts'
import type { StoreHash } from '../nix/store-path.ts'
import type { Access } from './access.ts'
import type { ServerParts } from './parts.ts'
import { printedText, type Printed, type PrintedNarInfos } from './printed-narinfos.ts'

/** Headers that make a request more than a plain question, and how long their names are. */
const particular = new Set([
  'if-none-match',
  'cache-control',
  'cdn-loop',
  'content-length',
  'transfer-encoding',
  'expect',
])
const lengths = new Set(Array.from(particular, ({ length }) => length))

/** Answers, or calls `otherwise`: then nothing has been done, and the route of narinfos has its turn. */
export type NarInfoHit = (
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  hash: StoreHash,
  otherwise: () => void,
) => void

interface Waiting {
  readonly hash: StoreHash
  readonly outgoing: ServerResponse
  readonly otherwise: () => void
}

/**
 * No question is opened, no trail written, nothing awaited: the answer is the same that the route of narinfos would give (measured: half
 * as many again a second). At the log level `debug` there is a line for every request, with its trail: then nobody takes this way.
 */
export function narInfoHit(
  { recall, recite, metrics }: ServerParts,
  access: Access,
  printed: PrintedNarInfos,
): NarInfoHit {
  if (!recall || !recite) return (_incoming, _outgoing, _hash, otherwise) => otherwise()
  const hits = metrics.narinfos.labels({ outcome: 'hit' })
  const send = (outgoing: ServerResponse, { body, hitHeaders }: Printed): void => {
    hits.inc()
    outgoing.writeHead(200, hitHeaders)
    outgoing.end(body, 'latin1')
  }
  let waiting: Waiting[] = []
  // All that came in one turn of the event loop are looked up together, which costs a third less than one by one.
  const reciteAll = (): void => {
    const all = waiting
    waiting = []
    const texts = recite(all.map(({ hash }) => hash))
    for (const [index, { outgoing, otherwise }] of all.entries()) {
      const known = texts[index]
      if (!known) otherwise()
      else if (!outgoing.destroyed) send(outgoing, printedText(withUrl(known.text, narFileUrl(known.file))))
    }
  }
  return (incoming, outgoing, hash, otherwise) => {
    if (incoming.method !== 'GET' || access.enabled('debug') || !isPlain(incoming.rawHeaders)) return otherwise()
    const substitute = recall(hash)
    if (substitute) return send(outgoing, printed.of(substitute.narinfo))
    if (waiting.push({ hash, outgoing, otherwise }) === 1) setImmediate(reciteAll)
  }
}

/** @param headers names and values in turn, as node has them before anybody looks */
function isPlain(headers: readonly string[]): boolean {
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] ?? ''
    if (lengths.has(name.length) && particular.has(name.toLowerCase())) return false
  }
  return true
}
