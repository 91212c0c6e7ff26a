// What the proxy says of itself: `/` for people and programs, `/health`, `/ready`, `/metrics`, and what browsers and robots ask for.

import { answer } from './answer.ts'
import { icon, pagePolicy } from './document.ts'
import { page } from './page.ts'
import type { Route, ServerParts } from './parts.ts'
import { troubles } from './status.ts'

const dayLong = { 'Cache-Control': 'public, max-age=86400' }
const notKept = { 'Cache-Control': 'no-store' }

/** `/`: a page for browsers, the same as JSON for `Accept: application/json`. */
export function statusRoute({ status, explanations }: Pick<ServerParts, 'status' | 'explanations'>): Route {
  return (incoming, outgoing) => {
    const now = status()
    const headers = { ...notKept, Vary: 'Accept' }
    const { accept = '' } = incoming.headers
    if (accept.includes('application/json') && !accept.includes('text/html')) {
      answer(outgoing, 200, 'application/json', `${JSON.stringify(now, null, 2)}\n`, headers)
      return
    }
    const text = page(now, explanations?.allowed(incoming) === true)
    answer(outgoing, 200, 'text/html; charset=utf-8', text, { ...headers, 'Content-Security-Policy': pagePolicy })
  }
}

/** `/health`: 200 while the disk works and at least one upstream can be asked, else 503; what is wrong is in the JSON. */
export function healthRoute({ status }: Pick<ServerParts, 'status'>): Route {
  return (_incoming, outgoing) => {
    const now = status()
    const wrong = troubles(now)
    const strata = now.strata.map(({ name, substituters }) => ({
      name,
      states: substituters.map(({ name, state }) => ({ name, state })),
    }))
    const text = JSON.stringify({
      ok: wrong.length === 0,
      troubles: wrong,
      uplink: now.uplink,
      store: now.store.state,
      strata,
    })
    answer(outgoing, wrong.length === 0 ? 200 : 503, 'application/json', `${text}\n`, notKept)
  }
}

/** `/ready`: 200 once started, 503 while stopping. */
export function readyRoute({ ready }: Pick<ServerParts, 'ready'>): Route {
  return (_incoming, outgoing) => {
    const is = ready()
    answer(outgoing, is ? 200 : 503, 'text/plain', is ? 'ready\n' : 'not ready\n', notKept)
  }
}

/** `/metrics`, in the Prometheus text format. */
export function metricsRoute({ metrics }: Pick<ServerParts, 'metrics'>): Route {
  return async (_incoming, outgoing) => {
    const text = await metrics.text()
    answer(outgoing, 200, metrics.registry.contentType, text, notKept)
  }
}

/** `/favicon.ico`. */
export const iconRoute: Route = (_incoming, outgoing) => {
  answer(outgoing, 200, 'image/svg+xml', icon, dayLong)
}

/** `/robots.txt`: there is nothing here to be searched. */
export const robotsRoute: Route = (_incoming, outgoing) => {
  answer(outgoing, 200, 'text/plain', 'User-agent: *\nDisallow: /\n', dayLong)
}
