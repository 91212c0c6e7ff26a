// Where the NAR of a narinfo is fetched, and where a redirect leads: an upstream's words, taken only within its bounds (R4).

import { ProxyError } from '../errors.ts'
import { reachOf, type Bounds } from './address.ts'

/**
 * The address of a narinfo's URL field, resolved against the cache's root as RFC 3986 has it: `nar/x.nar.xz` lies below the root,
 * `/nar/x` below the host, `https://cdn.example.org/x` elsewhere. The query is kept (signed URLs).
 * @throws ProxyError `bad-address` for one that climbs (`..`, also percent-encoded), is not http or https, or is another host's
 * that the operator did not allow
 */
export function narLocation(text: string, bounds: Bounds): URL {
  const path = text.split(/[?#]/, 1)[0] ?? ''
  const climbs = path.replace(/%2e/gi, '.').split(/[/\\]/).includes('..')
  if (climbs || !URL.canParse(text, bounds.own.href)) {
    throw new ProxyError('bad-address', `its NAR URL ${shown(text)} is not one of this cache`)
  }
  return allowed(new URL(text, bounds.own), bounds, 'its NAR is at')
}

/**
 * Where a redirect leads.
 * @throws ProxyError `bad-address` for a host that is not allowed and for the step from https to http, `bad-status` without Location
 */
export function redirectTarget(from: URL, location: string | undefined, bounds: Bounds): URL {
  if (location === undefined || !URL.canParse(location, from.href)) {
    throw new ProxyError('bad-status', 'a redirect without a usable Location')
  }
  const to = new URL(location, from)
  if (from.protocol === 'https:' && to.protocol !== 'https:') {
    throw new ProxyError('bad-address', `it redirects from https to ${to.protocol}//${to.host}`)
  }
  return allowed(to, bounds, 'it redirects to')
}

function allowed(url: URL, bounds: Bounds, what: string): URL {
  if (reachOf(url, bounds) === undefined) {
    throw new ProxyError('bad-address', `${what} ${url.protocol}//${url.host}, which is not among its allowed hosts`)
  }
  // Nobody else chooses our credentials.
  url.username = ''
  url.password = ''
  url.hash = ''
  return url
}

function shown(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text)
}
