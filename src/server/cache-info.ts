// nix-cache-info: always our own, at once, whatever the upstreams do. A client that does not get it drops us for its whole run.

import { printCacheInfo } from '../nix/cache-info.ts'
import { answer } from './answer.ts'
import type { Route, ServerParts } from './parts.ts'

/** The route of GET and HEAD `/nix-cache-info`. */
export function cacheInfoRoute({ storeDir, priority }: Pick<ServerParts, 'storeDir' | 'priority'>): Route {
  const text = printCacheInfo({ storeDir, wantMassQuery: true, priority })
  return (_incoming, outgoing) => {
    answer(outgoing, 200, 'text/x-nix-cache-info', text, { 'Cache-Control': 'public, max-age=300' })
  }
}
