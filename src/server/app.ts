// All requests come in here: what no cache is asked for is refused at once, narinfos go straight to their route, hono routes the rest.

import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'

import { getRequestListener, type HttpBindings } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { Hono } from 'hono'

import { isStoreHash, type StoreHash } from '../nix/store-path.ts'
import { Access } from './access.ts'
import { refuse } from './answer.ts'
import { cacheInfoRoute } from './cache-info.ts'
import { refusalOf } from './errors.ts'
import { explainRoute } from './explain.ts'
import { narRoute } from './nar.ts'
import { narInfoHit } from './narinfo-hit.ts'
import { narInfoRoute } from './narinfo.ts'
import { healthRoute, iconRoute, metricsRoute, readyRoute, robotsRoute, statusRoute } from './own-pages.ts'
import type { Route, ServerParts } from './parts.ts'
import { passthroughRoute } from './passthrough.ts'
import { PrintedNarInfos } from './printed-narinfos.ts'
import { refuseUpload, uploadRoute } from './upload.ts'

type Guarded = (route: Route, incoming: IncomingMessage, outgoing: ServerResponse) => Promise<void>

/** The whole server as a listener for node's `request` and `checkContinue`. Never throws, never leaves a request unanswered. */
export function createApp(parts: ServerParts): RequestListener {
  const access = new Access({ log: parts.access })
  const printed = new PrintedNarInfos()
  const narInfo = narInfoRoute(parts, access, printed)
  const narInfoAtOnce = narInfoHit(parts, access, printed)
  const upload = uploadRoute(parts, access)
  /** Runs a route that must not fail, and answers all the same when it does. */
  const guarded: Guarded = async (route, incoming, outgoing) => {
    try {
      await route(incoming, outgoing)
    } catch (error) {
      access.bug(incoming, error)
      const { status, says } = refusalOf(error)
      if (outgoing.headersSent) outgoing.destroy()
      else refuse(outgoing, status, says)
    }
  }
  const pages = {
    '/': statusRoute(parts),
    '/nix-cache-info': cacheInfoRoute(parts),
    '/nar/*': narRoute(parts, access),
    '/explain/*': explainRoute(parts, access),
    '/metrics': metricsRoute(parts),
    '/health': healthRoute(parts),
    '/ready': readyRoute(parts),
    '/favicon.ico': iconRoute,
    '/robots.txt': robotsRoute,
    '*': passthroughRoute(parts, access),
  }
  const others = router(pages, guarded)

  const dispatch: Route = (incoming, outgoing) => {
    const { method, url = '' } = incoming
    // `GET http://elsewhere/` is meant for a proxy of another kind.
    if (!url.startsWith('/')) return refuse(outgoing, 400, 'this is not an HTTP proxy', { Connection: 'close' })
    if (method === 'PUT') return upload(incoming, outgoing)
    if (method !== 'GET' && method !== 'HEAD') {
      const allow = parts.uploads ? 'GET, HEAD, PUT' : 'GET, HEAD'
      return refuseUpload(incoming, outgoing, 405, 'no such method here', { Allow: allow })
    }
    // A body that nobody asked for is not read: the connection ends with the answer.
    if (hasBody(incoming)) outgoing.setHeader('Connection', 'close')
    const hash = narInfoHash(url)
    if (hash) return narInfo(incoming, outgoing, hash)
    if (url.endsWith('.narinfo')) parts.metrics.narinfos.inc({ outcome: 'bad-request' })
    return others(incoming, outgoing)
  }

  return (incoming, outgoing) => {
    const hash = narInfoHash(incoming.url ?? '')
    const otherwise = (): void => void guarded(dispatch, incoming, outgoing)
    if (hash) narInfoAtOnce(incoming, outgoing, hash, otherwise)
    else otherwise()
  }
}

/**
 * The hash of `/<32 letters>.narinfo`, by its shape alone: rubbish is a 404 and not a question. In front of hono, because a narinfo
 * that is held is what is asked for most.
 */
function narInfoHash(url: string): StoreHash | undefined {
  if (url.length !== '/.narinfo'.length + 32 || !url.endsWith('.narinfo')) return undefined
  const hash = url.slice(1, 33)
  return isStoreHash(hash) ? hash : undefined
}

function hasBody({ headers }: IncomingMessage): boolean {
  const length = headers['content-length']
  return headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
}

/** Every route writes to node's response itself: hono says only which one it is. */
function router(routes: Readonly<Record<string, Route>>, guarded: Guarded): Route {
  const app = new Hono<{ Bindings: HttpBindings }>()
  for (const [path, route] of Object.entries(routes)) {
    // GET is HEAD too.
    app.get(path, async ({ env }) => {
      await guarded(route, env.incoming, env.outgoing)
      return RESPONSE_ALREADY_SENT
    })
  }
  const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false, autoCleanupIncoming: false })
  return (incoming, outgoing) => {
    // What a client calls us means nothing here, and hono refuses some of it: no name at all (HTTP/1.0), 127.1, [fd00:0::1].
    incoming.headers.host = 'substrata'
    return listener(incoming, outgoing)
  }
}
