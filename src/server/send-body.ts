// Writes a body to a client, chunk by chunk and never faster than it reads; what breaks on the way destroys the socket.

import type { IncomingMessage, ServerResponse } from 'node:http'

import { ProxyError } from '../errors.ts'
import { HungUp } from './question.ts'
import { turns } from './turns.ts'

export interface SendBodyOptions {
  readonly incoming: IncomingMessage
  /** With its headers written, nothing else. */
  readonly outgoing: ServerResponse
  readonly body: AsyncIterable<Uint8Array>
  /** Content-Length as the client was told; undefined: it was told none. */
  readonly length: number | undefined
  /** Told of every chunk that the client's socket has taken, in bytes. */
  readonly sent: (bytes: number) => void
}

/**
 * Sends the body and ends the response. Rejects when the body breaks, yields more or fewer bytes than were promised, or the client
 * hangs up (HungUp); then the socket is destroyed, so that no client takes a part for the whole. A hang-up is noticed while the
 * next chunk is awaited too, and the body is returned at once; the caller's AbortSignal is what frees a body that still waits.
 */
export async function sendBody({ incoming, outgoing, body, length, sent }: SendBodyOptions): Promise<void> {
  const chunks = body[Symbol.asyncIterator]()
  let missing = length ?? Number.POSITIVE_INFINITY
  let isFirst = true
  let giveUp = (_why: ProxyError): void => {}
  const hangUp = (): void => giveUp(new HungUp())
  /** One step that a hang-up interrupts. Not Promise.race with a promise for the hang-up, which would hold on to every step. */
  const unlessHungUp = <T>(
    step: (resolve: (value: T) => void, reject: (reason: unknown) => void) => void,
  ): Promise<T> =>
    new Promise((resolve, reject) => {
      giveUp = reject
      if (incoming.destroyed || outgoing.destroyed) hangUp()
      else step(resolve, reject)
    })
  incoming.once('close', hangUp)
  outgoing.once('close', hangUp)
  try {
    for (;;) {
      const step = await unlessHungUp<IteratorResult<Uint8Array>>((resolve, reject) => {
        chunks.next().then(resolve, reject)
      })
      if (step.done === true) break
      const chunk = step.value
      missing -= chunk.byteLength
      if (missing < 0) throw new ProxyError('damaged', `server: the body is longer than its ${length} bytes`)
      // The chunk's buffer is used again for the next one: it must have left before that is asked for.
      await unlessHungUp<void>((resolve) => {
        const write = (): void => {
          if (!outgoing.destroyed) outgoing.write(chunk, (error) => (error ? hangUp() : resolve()))
        }
        // Whoever has just come waits for nobody: by his first byte he sees that somebody is there.
        if (isFirst) write()
        else turns.take(write)
      })
      isFirst = false
      sent(chunk.byteLength)
    }
    if (length !== undefined && missing > 0) {
      throw new ProxyError('damaged', `server: the body ended ${missing} bytes before its ${length}`)
    }
    outgoing.end()
  } catch (error) {
    cut(outgoing, length !== undefined || outgoing.chunkedEncoding)
    release(chunks)
    throw error
  } finally {
    incoming.off('close', hangUp)
    outgoing.off('close', hangUp)
  }
}

/** Lets go of a body that nobody will read, without waiting for it. */
export function release(body: AsyncIterator<Uint8Array> | AsyncIterable<Uint8Array>): void {
  const chunks = Symbol.asyncIterator in body ? body[Symbol.asyncIterator]() : body
  void chunks.return?.().then(undefined, () => {})
}

/**
 * Breaks off an answer so that it cannot be taken for a whole one. Where neither a length nor chunks tell the end (HTTP/1.0), a
 * closed socket would be one: there it is reset.
 */
function cut(outgoing: ServerResponse, endTells: boolean): void {
  const { socket } = outgoing
  // A Unix socket has no address and cannot be reset.
  if (!endTells && socket?.remoteAddress !== undefined) socket.resetAndDestroy()
  outgoing.destroy()
}
