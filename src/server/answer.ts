// Small answers that are whole when they are sent: written to node's response at once, with the same headers for GET and HEAD.

import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'

/**
 * Sends a whole answer. To HEAD the same without its body. Does nothing when the client has gone or an answer has begun. What it is
 * sent as is what a browser takes it for (`nosniff`), whoever wrote it.
 */
export function answer(
  outgoing: ServerResponse,
  status: number,
  contentType: string,
  body: string,
  headers: OutgoingHttpHeaders = {},
): void {
  if (outgoing.headersSent || outgoing.destroyed) return
  outgoing.writeHead(status, {
    'Content-Type': contentType,
    'Content-Length': Buffer.byteLength(body),
    'X-Content-Type-Options': 'nosniff',
    ...headers,
  })
  outgoing.end(body)
}

/** Sends a sentence as the body of an error. No cache in between may keep it: what is not there now may be in a minute. */
export function refuse(
  outgoing: ServerResponse,
  status: number,
  says: string,
  headers: OutgoingHttpHeaders = {},
): void {
  answer(outgoing, status, 'text/plain; charset=utf-8', `${says}\n`, { 'Cache-Control': 'no-store', ...headers })
}
