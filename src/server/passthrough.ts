// The other things a cache has, passed on as they are: build logs, listings, realisations, build traces, debug information.

import type { IncomingMessage, ServerResponse } from 'node:http'

import { codeOf, messageOf } from '../errors.ts'
import { resourceKind, type ResourceKind } from '../nix/resource.ts'
import type { Access } from './access.ts'
import { refuse } from './answer.ts'
import { forwarded, missed, notHeld } from './cache-status.ts'
import { refusalOf } from './errors.ts'
import type { Route, ServerParts } from './parts.ts'
import { HungUp, openQuestion } from './question.ts'
import { release, sendBody } from './send-body.ts'

/** Seconds that a cache in between may keep one: none is signed, and logs and realisations come to be later. */
const maxAge = 60

/**
 * What each is sent as, whatever the upstream calls it: a stranger's HTML would run as a page of this address, with the credentials
 * that a browser keeps for it.
 */
const contentTypes = {
  log: 'text/plain; charset=utf-8',
  listing: 'application/json',
  realisation: 'application/json',
  'build-trace': 'application/json',
  debuginfo: 'application/json',
} satisfies Record<ResourceKind, string>

/** The path of such a thing, `log/<drv>`, and what it is; undefined: no cache has that. Escaped characters are Nix's `!` and `+`. */
export function resourceTarget(url: string): { readonly path: string; readonly kind: ResourceKind } | undefined {
  const path = decoded(url.slice(1))
  const kind = path === undefined ? undefined : resourceKind(path)
  return path !== undefined && kind ? { path, kind } : undefined
}

/** The route of GET and HEAD for everything that `resourceKind` knows; 404 for all else. */
export function passthroughRoute(parts: ServerParts, access: Access): Route {
  const answer = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const target = resourceTarget(incoming.url ?? '')
    if (!target) return refuse(outgoing, 404, 'no such file')
    const question = openQuestion(incoming, parts)
    const { asking, trail, onlyIfCached, circular } = question
    let bytes = 0
    try {
      const resource = circular ? undefined : await parts.resource(target.path, onlyIfCached, asking)
      question.liftDeadline()
      if (!resource) {
        const held = onlyIfCached && !circular
        refuse(outgoing, held ? 504 : 404, 'no such file', { 'Cache-Status': held ? notHeld : missed() })
        // Clients with content-addressed derivations ask for realisations all the time that nobody has.
        return access.line('debug', incoming, { status: outgoing.statusCode, why: 'missed' }, trail)
      }
      const { body, size, from } = resource
      if (question.hungUp()) {
        release(body)
        throw new HungUp()
      }
      outgoing.writeHead(200, {
        ...(size === undefined ? {} : { 'Content-Length': size }),
        'Content-Type': contentTypes[target.kind],
        'X-Content-Type-Options': 'nosniff',
        'Cache-Control': `public, max-age=${maxAge}`,
        'Cache-Status': forwarded(from, { stored: false }),
      })
      if (incoming.method === 'HEAD') {
        release(body)
        question.stop()
        outgoing.end()
      } else {
        await sendBody({ incoming, outgoing, body, length: size, sent: (sent) => (bytes += sent) })
      }
      access.line('info', incoming, { status: 200, from, bytes }, trail)
    } catch (error) {
      if (question.hungUp() || error instanceof HungUp) return
      if (codeOf(error) === undefined) access.bug(incoming, error)
      const reason = question.reason(error)
      const { status, says } = refusalOf(reason)
      refuse(outgoing, status, says, { 'Cache-Status': missed(codeOf(reason) ?? 'failed') })
      access.line('info', incoming, { status: outgoing.statusCode, bytes, why: messageOf(reason) }, trail)
    } finally {
      question.close()
    }
  }
  return answer
}

/** Percent-decoded once. What is still escaped then is no part of any name. */
function decoded(path: string): string | undefined {
  try {
    return decodeURIComponent(path)
  } catch {
    return undefined
  }
}
