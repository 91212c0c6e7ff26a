// NARs: `/nar/<file>` for GET and HEAD, whole or one range, from wherever the substituter has them, never faster than the client reads.

import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'

import { codeOf, messageOf, ProxyError } from '../errors.ts'
import { narIdentity } from '../nix/nar-url.ts'
import type { ByteRange, Substitute } from '../substituter.ts'
import type { Access } from './access.ts'
import { refuse } from './answer.ts'
import { cameFromDisk, forwarded, hit, missed, notHeld } from './cache-status.ts'
import { notModified, rangeHolds } from './conditional.ts'
import { refusalOf } from './errors.ts'
import { narTarget, type NarTarget } from './nar-target.ts'
import { openPart, statedSize } from './open-part.ts'
import type { ForeignNar, Resource, Route, ServerParts } from './parts.ts'
import { HungUp, openQuestion, type Question } from './question.ts'
import { parseRange, rangeWithin, type AskedRange } from './range.ts'
import { release, sendBody } from './send-body.ts'
import { mayUpload, sendUploadedSize } from './upload.ts'

const contentType = 'application/x-nix-nar'
/** On every answer, errors too: a client that resumes gives up when the header is missing from just one of them. */
const resumable = { 'Accept-Ranges': 'bytes' }
/** The name says which bytes they are. */
const immutable = { 'Cache-Control': 'public, max-age=31536000, immutable' }
/** The name says nothing: the bytes behind it may change. */
const brief = { 'Cache-Control': 'public, max-age=300' }

/** Headers of an answer. Without Content-Length the body goes out in chunks. */
interface Sized extends OutgoingHttpHeaders {
  'Content-Length'?: number
}

/** One request for a NAR, while it is being answered. */
interface Exchange {
  readonly incoming: IncomingMessage
  readonly outgoing: ServerResponse
  readonly question: Question
  /** Bytes of the body that have left. */
  bytes: number
}

/** How it ended: a label of the metrics, and what the access line says. */
interface Outcome {
  readonly label: 'hit' | 'fill' | 'passed' | 'missed' | 'refused'
  readonly status: number
  readonly from?: string | undefined
  readonly why?: string | undefined
}

/** The route of GET and HEAD for everything under `nar/`: our URLs, and those that some other software has handed out. */
export function narRoute(parts: ServerParts, access: Access): Route {
  const { substituter, held, metrics, uploads } = parts

  const find = async (target: NarTarget, { incoming, question }: Exchange): Promise<ForeignNar | undefined> => {
    if (question.circular) return undefined
    const { asking, onlyIfCached: onlyHeld } = question
    if ('foreign' in target) return parts.foreignNar(target.foreign, { range: passedRange(incoming), onlyHeld }, asking)
    const substitute = await (onlyHeld ? held : substituter).find(target, asking)
    return substitute && { substitute }
  }

  const send = async (exchange: Exchange, status: number, headers: Sized, body: AsyncIterable<Uint8Array>) => {
    const { incoming, outgoing } = exchange
    const sent = (bytes: number): void => {
      exchange.bytes += bytes
      metrics.narBytes.inc(bytes)
    }
    outgoing.writeHead(status, headers)
    await sendBody({ incoming, outgoing, body, length: headers['Content-Length'], sent })
  }

  const sendSubstitute = async (exchange: Exchange, substitute: Substitute): Promise<Outcome> => {
    const { incoming, outgoing, question } = exchange
    const onDisk = cameFromDisk(question.trail)
    const from = question.trail.winner ?? substitute.from
    const label = onDisk ? 'hit' : 'fill'
    const etag = `"${narIdentity(substitute.narinfo).digest}"`
    const headers = {
      'Content-Type': contentType,
      ETag: etag,
      ...resumable,
      ...immutable,
      'Cache-Status': onDisk ? hit : forwarded(from, { stored: true }),
    }
    if (notModified(incoming.headers['if-none-match'], etag)) {
      outgoing.writeHead(304, headers)
      outgoing.end()
      return { label, status: 304, from }
    }
    if (incoming.method === 'HEAD') {
      outgoing.writeHead(200, { ...sized(statedSize(substitute.narinfo)), ...headers })
      outgoing.end()
      return { label, status: 200, from }
    }
    const asked = rangeHolds(incoming.headers['if-range'], etag) ? parseRange(incoming.headers.range) : undefined
    const opened = await openPart(substitute, asked, question.asking.signal)
    if (opened.kind === 'outside') return refuseRange(outgoing, opened.size, from)
    const { nar } = opened
    if (question.hungUp()) {
      release(nar.body)
      throw new HungUp()
    }
    if (opened.kind === 'part') {
      await send(exchange, 206, { ...headers, ...partHeaders(opened.part, opened.size) }, nar.body)
      return { label, status: 206, from }
    }
    await send(exchange, 200, { ...headers, ...sized(nar.size) }, nar.body)
    return { label, status: 200, from }
  }

  const sendResource = async (exchange: Exchange, { body, size, from }: Resource): Promise<Outcome> => {
    const { incoming, outgoing, question } = exchange
    if (question.hungUp()) {
      release(body)
      throw new HungUp()
    }
    const cacheStatus = forwarded(from, { stored: false })
    const headers = { 'Content-Type': contentType, ...resumable, ...brief, 'Cache-Status': cacheStatus }
    const whole = { ...headers, ...sized(size) }
    const range = passedRange(incoming)
    if (incoming.method === 'HEAD') {
      release(body)
      question.stop()
      outgoing.writeHead(200, whole)
      outgoing.end()
      return { label: 'passed', status: 200, from }
    }
    if (!range) {
      await send(exchange, 200, whole, body)
      return { label: 'passed', status: 200, from }
    }
    const part = size === undefined ? undefined : rangeWithin(asRange(range), size)
    if (!part || size === undefined) {
      release(body)
      if (size !== undefined) return refuseRange(outgoing, size, from)
      throw new ProxyError('bad-status', `${from}: a part of a file whose size it does not tell`)
    }
    await send(exchange, 206, { ...headers, ...partHeaders(part, size) }, body)
    return { label: 'passed', status: 206, from }
  }

  const sendMiss = ({ outgoing, question: { circular, onlyIfCached } }: Exchange): Outcome => {
    const status = onlyIfCached && !circular ? 504 : 404
    const [says, cacheStatus] = status === 504 ? ['not held here', notHeld] : ['no such NAR', missed()]
    refuse(outgoing, status, says, { ...resumable, 'Cache-Status': cacheStatus })
    return { label: 'missed', status, why: circular ? 'came through here before' : 'missed' }
  }

  /** Before the headers are out, a status; afterwards the socket has been cut already. */
  const fail = ({ incoming, outgoing, question, bytes }: Exchange, error: unknown): void => {
    const code = codeOf(error)
    if (code === undefined) access.bug(incoming, error)
    const { status: told, says } = refusalOf(error)
    const begun = outgoing.headersSent
    const status = begun ? outgoing.statusCode : told
    refuse(outgoing, status, says, { ...resumable, 'Cache-Status': missed(code ?? 'failed') })
    if (incoming.method === 'GET') metrics.nars.inc({ outcome: code === 'gone' && !begun ? 'missed' : 'failed' })
    const why = begun ? `cut after ${bytes} bytes: ${messageOf(error)}` : messageOf(error)
    access.line('info', incoming, { status, bytes, why }, question.trail)
  }

  const answer = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const target = narTarget((incoming.url ?? '').slice(1))
    if (!target) return refuse(outgoing, 404, 'no such file')
    if (uploads && 'foreign' in target && incoming.method === 'HEAD' && mayUpload(uploads, incoming)) {
      return sendUploadedSize(uploads, target.foreign, outgoing)
    }
    const question = openQuestion(incoming, parts)
    const exchange: Exchange = { incoming, outgoing, question, bytes: 0 }
    try {
      const found = await find(target, exchange)
      question.liftDeadline()
      const outcome = !found
        ? sendMiss(exchange)
        : 'substitute' in found
          ? await sendSubstitute(exchange, found.substitute)
          : await sendResource(exchange, found)
      const { label, ...line } = outcome
      if (incoming.method === 'GET' && label !== 'refused') metrics.nars.inc({ outcome: label })
      access.line('info', incoming, { ...line, bytes: exchange.bytes }, question.trail)
    } catch (error) {
      question.stop()
      if (question.hungUp() || error instanceof HungUp) {
        if (incoming.method === 'GET') metrics.nars.inc({ outcome: 'hung-up' })
        access.line('debug', incoming, { status: outgoing.statusCode, bytes: exchange.bytes, why: 'hung up' })
      } else fail(exchange, question.reason(error))
    } finally {
      question.close()
    }
  }
  return answer
}

/** Content-Range and what goes with it: `bytes 100-199/1000`. */
function partHeaders({ start, end }: Required<ByteRange>, size: number): Sized {
  return { 'Content-Length': end - start + 1, 'Content-Range': `bytes ${start}-${end}/${size}` }
}

function sized(size: number | undefined): Sized {
  return size === undefined ? {} : { 'Content-Length': size }
}

function refuseRange(outgoing: ServerResponse, size: number | undefined, from: string): Outcome {
  const contentRange = size === undefined ? {} : { 'Content-Range': `bytes */${size}` }
  refuse(outgoing, 416, 'the range lies outside the file', { ...resumable, ...contentRange })
  return { label: 'refused', status: 416, from, why: 'range outside the file' }
}

/**
 * The range that may be asked of an upstream as it is. The last n bytes of a file of unknown size cannot, and an If-Range that names
 * bytes for which nobody vouches never fits: in both cases the whole is sent.
 */
function passedRange({ method, headers }: IncomingMessage): ByteRange | undefined {
  const asked = method === 'GET' && headers['if-range'] === undefined ? parseRange(headers.range) : undefined
  if (asked?.kind !== 'from') return undefined
  return asked.end === undefined ? { start: asked.start } : { start: asked.start, end: asked.end }
}

function asRange({ start, end }: ByteRange): AskedRange {
  return { kind: 'from', start, end }
}
