// `/explain/<hash>`: who has a path and why it comes from where it comes, for those near enough to see it, a few at a time.

import type { IncomingMessage } from 'node:http'

import { ProxyError } from '../errors.ts'
import { explanationText } from '../explanation-text.ts'
import type { Explanation } from '../explanation.ts'
import { isStoreHash, type StoreHash } from '../nix/store-path.ts'
import type { Asking } from '../substituter.ts'
import type { Access } from './access.ts'
import { addressBlocks } from './address-blocks.ts'
import { answer, refuse } from './answer.ts'
import { pagePolicy } from './document.ts'
import { refusalOf } from './errors.ts'
import { explainPage } from './explain-page.ts'
import type { Route, ServerParts } from './parts.ts'
import { openQuestion } from './question.ts'

/** Each one asks everybody, so there are never more than this under way. */
const mostAtOnce = 4

export interface Explanations {
  /** Whether this client may ask why. */
  allowed(incoming: IncomingMessage): boolean
  /** Asks everybody until the signal fires. Rejects only with what is a mistake of ours. */
  explain(hash: StoreHash, asking: Pick<Asking, 'signal' | 'loop'>): Promise<Explanation>
}

/**
 * Makes `Explanations.allowed`: clients on this machine may ask (loopback and Unix sockets, unless a reverse proxy says that it only passes
 * something on), and those at addresses of the list. Throws `bad-config` for a block that is none.
 */
export function explainAccess(blocks: readonly string[]): Explanations['allowed'] {
  const listed = addressBlocks('explain', blocks)
  const loopback = addressBlocks('explain', ['127.0.0.0/8', '::1/128'])
  return ({ headers, socket: { remoteAddress } }) => {
    if (remoteAddress !== undefined && listed(remoteAddress)) return true
    const passedOn = headers.forwarded ?? headers['x-forwarded-for'] ?? headers['x-real-ip'] ?? headers.via
    return passedOn === undefined && (remoteAddress === undefined || loopback(remoteAddress))
  }
}

/** As a page for browsers, as JSON for `Accept: application/json`, else as text. */
export function explainRoute(parts: ServerParts, access: Access): Route {
  const { explanations } = parts
  let underWay = 0
  return async (incoming, outgoing) => {
    const { url = '' } = incoming
    const meant = explanations && meantBy(url)
    // Relative: there may be a path of a reverse proxy in front.
    if (meant) return answer(outgoing, 303, 'text/plain', `explain/${meant}\n`, { Location: `explain/${meant}` })
    const hash = hashOf(url)
    if (!explanations || hash === undefined) return refuse(outgoing, 404, 'no store path is called so: /explain/<hash>')
    if (!explanations.allowed(incoming)) {
      access.line('info', incoming, { status: 403, why: 'not allowed' })
      return refuse(outgoing, 403, 'who was asked is told to this machine, and to the addresses of [server] explain')
    }
    if (underWay >= mostAtOnce) {
      const { status, says } = refusalOf(new ProxyError('overloaded', 'server: too many are asking why'))
      return refuse(outgoing, status, says, { 'Retry-After': '1' })
    }
    underWay += 1
    const question = openQuestion(incoming, parts)
    try {
      const explanation = await explanations.explain(hash, question.asking)
      if (question.hungUp()) return undefined
      const { accept = '' } = incoming.headers
      // The verdict beside it, for our own command line: every form of an explanation is one for people.
      const headers = { 'Cache-Control': 'no-store', Vary: 'Accept', 'Substrata-Verdict': explanation.verdict.kind }
      if (accept.includes('text/html')) {
        const shown = { ...headers, 'Content-Security-Policy': pagePolicy }
        return answer(outgoing, 200, 'text/html; charset=utf-8', explainPage(explanation), shown)
      }
      if (accept.includes('application/json')) {
        return answer(outgoing, 200, 'application/json', `${JSON.stringify(explanation, null, 2)}\n`, headers)
      }
      return answer(outgoing, 200, 'text/plain; charset=utf-8', explanationText(explanation), headers)
    } finally {
      underWay -= 1
      question.close()
    }
  }
}

/** What the form of the start page asks for, in whatever form it was copied: `/explain?path=%2Fnix%2Fstore%2F<hash>-<name>%2Fbin`. */
function meantBy(url: string): StoreHash | undefined {
  const path = url.startsWith('/explain?') ? new URLSearchParams(url.slice(url.indexOf('?'))).get('path') : null
  return path?.split(/[^0-9a-z]/).find(isStoreHash)
}

/** `/explain/<hash>`, and `/explain/<hash>-<name>` as it is copied from elsewhere. */
function hashOf(url: string): StoreHash | undefined {
  const [, hash = ''] = /^\/explain\/([^/?-]+)(?:-[^/?]*)?(?:\?|$)/.exec(url) ?? []
  return isStoreHash(hash) ? hash : undefined
}
