// Whether a cache answers as one: reached, let in, no login page in front, for our store directory.

import { STATUS_CODES } from 'node:http'

import { messageOf, ProxyError } from '../errors.ts'
import { parseCacheInfo } from '../nix/cache-info.ts'
import { BadStatus, isWebPage, linkTrouble } from '../upstreams/failures.ts'
import type { Visit } from '../upstreams/visit.ts'
import type { Finding } from './finding.ts'

/** What one look at a cache says of it. `about` is `upstream cache.nixos.org`. */
export function judgeVisit(about: string, visit: Visit, storeDir: string): Finding {
  return portal(about, visit) ?? refusal(about, visit) ?? otherStore(about, visit, storeDir) ?? well(about, visit)
}

/** What it says of a cache that one look at it failed. `roaming`: it may come and go, and its absence is no problem. */
export function judgeAbsence(
  about: string,
  error: unknown,
  { url, roaming }: { readonly url: URL; readonly roaming: boolean },
): Finding {
  const why = messageOf(error).replace(`${about}: `, '')
  const level = roaming ? 'note' : 'problem'
  if (error instanceof ProxyError && linkTrouble(error) === 'portal') {
    const says = `something else answers in its place: ${why}; perhaps a captive portal is in front of it`
    return { level, about, says, do: logInAt(url) }
  }
  const action = `See that it runs, and that ${url.origin} is where it listens; curl -v ${url.href}nix-cache-info shows more`
  return { level, about, says: `cannot be reached: ${why}`, do: action }
}

function logInAt({ origin }: URL): string {
  return `Open ${origin} in a browser: log in to the network if that is what it asks for. If not, see that its url is that of a binary cache`
}

/** A captive portal answers in the place of everybody: with its own page, by sending one there, or with the status made for it. */
function portal(about: string, { status, headers, text, url }: Visit): Finding | undefined {
  const action = logInAt(url)
  const found = (says: string): Finding => ({ level: 'problem', about, says, do: action })
  if (linkTrouble(new BadStatus(about, status)) === 'portal')
    return found(`a captive portal is in front of it: ${status} ${STATUS_CODES[status] ?? ''}`)
  if (status >= 300 && status < 400 && status !== 304) {
    const { location = '' } = headers
    const to = location !== '' && URL.canParse(location, url.href) ? new URL(location, url) : undefined
    if (to === undefined) return found(`it sends us away without saying where (${status})`)
    if (to.host !== url.host)
      return found(`it sends us to another host, ${to.host}; perhaps a captive portal is in front of it`)
    const moved = `Write "${to.href.replace(/nix-cache-info.*$/, '')}" as its url`
    return { level: 'note', about, says: `it sends us to another place of its own, ${to.href}`, do: moved }
  }
  const isPage = isWebPage(text) || (headers['content-type'] ?? '').startsWith('text/html')
  if (status !== 200 || !isPage) return undefined
  return found('it answers with a web page instead of nix-cache-info; perhaps a captive portal is in front of it')
}

function refusal(about: string, { status, url }: Visit): Finding | undefined {
  const said = `${status} ${STATUS_CODES[status] ?? ''}`.trimEnd()
  if (status === 401 || status === 403 || status === 407) {
    const action =
      'Name a file with what it wants: netrc or headers of this upstream. A bucket that says 403 for files it lacks works all the same'
    return { level: status === 403 ? 'warning' : 'problem', about, says: `it does not let us in: ${said}`, do: action }
  }
  if (status === 404 || status === 410) {
    const action = `See that ${url.href} is the place where its narinfos are: some caches have no nix-cache-info, and work`
    return { level: 'warning', about, says: `it has no nix-cache-info: ${said}`, do: action }
  }
  if (status === 200) return undefined
  return { level: 'problem', about, says: `it fails: ${said}`, do: 'Ask whoever runs it, or take it out meanwhile' }
}

function otherStore(about: string, { text }: Visit, storeDir: string): Finding | undefined {
  const said = parseCacheInfo(text).storeDir
  if (said === storeDir) return undefined
  if (said === undefined) {
    const action = 'See that its url is that of a binary cache; it is asked all the same'
    return { level: 'warning', about, says: 'its nix-cache-info names no store directory', do: action }
  }
  const action = `Take it out, or set server.store_dir if this machine's own is ${said}`
  return {
    level: 'problem',
    about,
    says: `it is for ${said}, and we are for ${storeDir}; it is never asked`,
    do: action,
  }
}

function well(about: string, { ms }: Visit): Finding {
  return { level: 'ok', about, says: `answers in ${Math.round(ms)} ms` }
}
