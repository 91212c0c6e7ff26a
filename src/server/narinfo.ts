// Narinfos: `/<storeHash>.narinfo` for GET and HEAD. Ends in 200 or 404, fast: anything else can stop a client's whole command.

import type { IncomingMessage, ServerResponse } from 'node:http'

import { codeOf, messageOf } from '../errors.ts'
import type { StoreHash } from '../nix/store-path.ts'
import type { Substitute } from '../substituter.ts'
import type { Access } from './access.ts'
import { refuse } from './answer.ts'
import { cameFromDisk, forwarded, missed, notHeld } from './cache-status.ts'
import { notModified } from './conditional.ts'
import { refusalOf } from './errors.ts'
import type { ServerParts } from './parts.ts'
import type { PrintedNarInfos } from './printed-narinfos.ts'
import { openQuestion, type Question } from './question.ts'

/** Answers GET and HEAD of one path's narinfo; the hash has its shape already. Never rejects. */
export type NarInfoRoute = (incoming: IncomingMessage, outgoing: ServerResponse, hash: StoreHash) => Promise<void>

/**
 * The route of narinfos. Where nobody has the path and somebody could not answer, `unreachable` decides between 404 and 502 or 504;
 * who says `only-if-cached` gets 504 for whatever is not on disk.
 */
export function narInfoRoute(parts: ServerParts, access: Access, printed: PrintedNarInfos): NarInfoRoute {
  const { substituter, held, metrics, unreachable } = parts
  const sendFound = (
    incoming: IncomingMessage,
    outgoing: ServerResponse,
    { narinfo, from }: Substitute,
    { trail }: Question,
  ): void => {
    const { body, bytes, etag, headers, hitHeaders } = printed.of(narinfo)
    const onDisk = cameFromDisk(trail)
    metrics.narinfos.inc({ outcome: onDisk ? 'hit' : 'found' })
    const all = onDisk ? hitHeaders : { ...headers, 'Cache-Status': forwarded(trail.winner ?? from, { stored: true }) }
    const status = notModified(incoming.headers['if-none-match'], etag) ? 304 : 200
    outgoing.writeHead(status, all)
    // Node sends no body after HEAD or with 304.
    outgoing.end(body, 'latin1')
    if (access.enabled('debug')) {
      access.line('debug', incoming, { status, from: trail.winner ?? from, bytes }, trail)
    }
  }

  const sendMiss = (incoming: IncomingMessage, outgoing: ServerResponse, question: Question): void => {
    metrics.narinfos.inc({ outcome: 'missed' })
    const status = question.onlyIfCached && !question.circular ? 504 : 404
    const why = question.circular ? 'came through here before' : 'missed'
    const [says, cacheStatus] = status === 504 ? ['not held here', notHeld] : ['no such path', missed()]
    refuse(outgoing, status, says, { 'Cache-Status': cacheStatus })
    access.line('info', incoming, { status, why }, question.trail)
  }

  const sendFailure = (
    incoming: IncomingMessage,
    outgoing: ServerResponse,
    question: Question,
    error: unknown,
  ): void => {
    metrics.narinfos.inc({ outcome: 'unreachable' })
    if (codeOf(error) === undefined) access.bug(incoming, error)
    const { status: told, says } = refusalOf(error)
    // What a peer is not given it takes for a miss; and of the failures only those exist here that no client takes for something else.
    const failure = question.onlyIfCached || told === 504 ? 504 : 502
    const status = unreachable === 'miss' && !question.onlyIfCached ? 404 : failure
    refuse(outgoing, status, says, { 'Cache-Status': missed(codeOf(error) ?? 'failed') })
    access.line('info', incoming, { status, why: messageOf(error) }, question.trail)
  }

  return async (incoming, outgoing, hash) => {
    const question = openQuestion(incoming, parts)
    try {
      if (question.circular) return sendMiss(incoming, outgoing, question)
      const substitute = await (question.onlyIfCached ? held : substituter).find({ hash }, question.asking)
      if (question.hungUp()) return
      if (substitute) sendFound(incoming, outgoing, substitute, question)
      else sendMiss(incoming, outgoing, question)
    } catch (error) {
      if (!question.hungUp()) sendFailure(incoming, outgoing, question, question.reason(error))
    } finally {
      question.close()
    }
  }
}
