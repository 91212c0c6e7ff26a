// Uploads (`nix copy --to http://…`): who may, which paths, and how a failure is told. What becomes of the bytes is the store's matter.

import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'

import { codeOf, messageOf } from '../errors.ts'
import { isStoreHash, type StoreHash } from '../nix/store-path.ts'
import type { Access } from './access.ts'
import { answer, refuse } from './answer.ts'
import { uploadRefusalOf } from './errors.ts'
import { isNarPath } from './nar-target.ts'
import type { Route, ServerParts } from './parts.ts'
import { resourceTarget } from './passthrough.ts'
import { UploadBody } from './upload-body.ts'

/** Where uploads go. What is refused is refused with a ProxyError. */
export interface Uploads {
  /** By the header Authorization as it came, and the address of the client (empty on a Unix socket). */
  allowed(authorization: string | undefined, remoteAddress: string): boolean
  /** Bytes of an uploaded or held NAR under this URL, `nar/1b0lyf….nar.xz`. Undefined: it would have to be uploaded. */
  narSize(path: string): Promise<number | undefined>
  /** `size` in bytes as the client says, undefined when it does not. Nobody sees the NAR until its narinfo is stored. */
  putNar(path: string, body: AsyncIterable<Uint8Array>, size: number | undefined): Promise<void>
  /** Rejects with `damaged`, `untrusted`, `bad-narinfo`, or `gone`: its NAR was not uploaded. */
  putNarInfo(hash: StoreHash, text: string): Promise<void>
  /** The path is one that `resourceKind` knows. */
  putResource(path: string, contentType: string | undefined, body: AsyncIterable<Uint8Array>): Promise<void>
}

const mebibyte = 1024 * 1024
/** As upstreams may send, and more than any closure needs. */
const longestNarInfo = mebibyte
/** A listing of the largest paths has some 10 MB, a build log of a browser some 50. */
const longestResource = 256 * mebibyte

/** One PUT that is about to be stored. `limit` in bytes; undefined: as much as the store takes. */
interface Target {
  readonly kind: 'narinfo' | 'nar' | 'resource'
  readonly limit: number | undefined
  store(uploads: Uploads, body: UploadBody): Promise<void>
}

/** The route of PUT. Without uploads, and for what cannot be uploaded, 405 with Allow. */
export function uploadRoute({ uploads, metrics }: ServerParts, access: Access): Route {
  return async (incoming, outgoing) => {
    const target = targetOf(incoming)
    if (!uploads || !target) return refuseUpload(incoming, outgoing, 405, 'no uploads here', { Allow: 'GET, HEAD' })
    if (!mayUpload(uploads, incoming)) {
      metrics.uploads.inc({ outcome: 'refused:forbidden' })
      access.line('info', incoming, { status: 401, why: 'not allowed' })
      // 401 also where an address is what lacks: the client cannot know, and the operator who looks at it does.
      const challenge = { 'WWW-Authenticate': 'Basic realm="substrata", charset="UTF-8"' }
      return refuseUpload(incoming, outgoing, 401, 'uploads need credentials', challenge)
    }
    const began = performance.now()
    let body: UploadBody | undefined
    try {
      body = new UploadBody({ incoming, limit: target.limit, mayBeEncoded: target.kind !== 'nar' })
      if (incoming.headers.expect !== undefined) outgoing.writeContinue()
      await target.store(uploads, body)
      if (target.kind === 'narinfo') metrics.uploads.inc({ outcome: 'committed' })
      answer(outgoing, 201, 'text/plain; charset=utf-8', '')
      access.line('info', incoming, { status: 201, bytes: body.received, ms: performance.now() - began })
    } catch (error) {
      if (outgoing.destroyed) return
      const code = codeOf(error)
      if (code === undefined) access.bug(incoming, error)
      metrics.uploads.inc({ outcome: `refused:${code ?? 'unknown'}` })
      const { status, says } = uploadRefusalOf(error)
      refuseUpload(incoming, outgoing, status, says)
      const ms = performance.now() - began
      access.line('info', incoming, { status, bytes: body?.received, ms, why: messageOf(error) })
    }
  }
}

function targetOf({ url = '' }: IncomingMessage): Target | undefined {
  const path = url.slice(1)
  const hash = path.endsWith('.narinfo') ? path.slice(0, -'.narinfo'.length) : ''
  if (isStoreHash(hash)) {
    return {
      kind: 'narinfo',
      limit: longestNarInfo,
      store: async (uploads, body) => uploads.putNarInfo(hash, await body.text()),
    }
  }
  if (isNarPath(path)) {
    return { kind: 'nar', limit: undefined, store: (uploads, body) => uploads.putNar(path, body, body.size) }
  }
  const resource = resourceTarget(url)
  return (
    resource && {
      kind: 'resource',
      limit: longestResource,
      store: (uploads, body) => uploads.putResource(resource.path, body.contentType, body),
    }
  )
}

/** Bytes of an unread body that are read and dropped, so that the connection can be used again. */
const dropAtMost = 64 * 1024

/**
 * Refuses without having read the whole body. The connection is closed after it unless the rest is short and surely on its way: a
 * client that waits for `100 Continue` may send it or not.
 */
export function refuseUpload(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  status: number,
  says: string,
  headers: OutgoingHttpHeaders = {},
): void {
  const { expect, 'content-length': length } = incoming.headers
  const rest = expect === undefined && length !== undefined ? Number(length) : Number.POSITIVE_INFINITY
  refuse(outgoing, status, says, rest > dropAtMost ? { ...headers, Connection: 'close' } : headers)
}

/** Whether this client may upload: asked for every PUT, and for a HEAD that may come before one. */
export function mayUpload(uploads: Uploads, { headers, socket }: IncomingMessage): boolean {
  return uploads.allowed(headers.authorization, socket.remoteAddress ?? '')
}

/** HEAD of a NAR by somebody who may upload: only what we have ourselves counts, for what we lack must be sent. */
export async function sendUploadedSize(uploads: Uploads, path: string, outgoing: ServerResponse): Promise<void> {
  const size = await uploads.narSize(path)
  if (size === undefined) return refuse(outgoing, 404, 'not uploaded')
  outgoing.writeHead(200, { 'Content-Type': 'application/x-nix-nar', 'Content-Length': size })
  outgoing.end()
}
