// A narinfo whose path is held and remembered, for a request that asks for nothing but that: answered at once. It is what is asked for most.

import type { IncomingMessage, ServerResponse } from 'node:http'

import type { StoreHash } from '../nix/store-path.ts'
import type { Access } from './access.ts'
import type { ServerParts } from './parts.ts'
import type { PrintedNarInfos } from './printed-narinfos.ts'

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

/** Whether it has been answered; if not, nothing has been done and the route of narinfos has its turn. */
export type NarInfoHit = (incoming: IncomingMessage, outgoing: ServerResponse, hash: StoreHash) => boolean

/**
 * No question is opened, no trail written, nothing awaited: the answer is the same that the route of narinfos would give (measured: half
 * as many again a second). At the log level `debug` there is a line for every request, with its trail: then nobody takes this way.
 */
export function narInfoHit({ recall, metrics }: ServerParts, access: Access, printed: PrintedNarInfos): NarInfoHit {
  if (!recall) return () => false
  const hits = metrics.narinfos.labels({ outcome: 'hit' })
  return (incoming, outgoing, hash) => {
    if (incoming.method !== 'GET' || access.enabled('debug') || !isPlain(incoming.rawHeaders)) return false
    const substitute = recall(hash)
    if (!substitute) return false
    const { body, hitHeaders } = printed.of(substitute.narinfo)
    hits.inc()
    outgoing.writeHead(200, hitHeaders)
    outgoing.end(body, 'latin1')
    return true
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
