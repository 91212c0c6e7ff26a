// A binary cache on loopback that does what a test says, path by path, and counts what it was asked.
//
//   const cache = new SyntheticCache()
//   const hello = cache.add()
//   const upstream = await startScriptedUpstream({ cache })          serves cache.files, with Range, HEAD and Content-Length
//   upstream.script(hello.narPath, { cutAfter: 100, times: 1 })      the first request is cut, later ones are served well
//   upstream.script(/\.narinfo$/, { status: 503, headers: { 'retry-after': '1' } })
//   upstream.url, upstream.count(hello.narPath), upstream.requests, await upstream.seen(hello.narPath), await upstream.idle()
//   await upstream.close()
//
// A later script for the same path goes first; without one, or after its `times`, the next that fits is taken, then the cache.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { brotliCompressSync, gzipSync } from 'node:zlib'

import { compress as zstdSync } from 'zstd-napi'

import type { SyntheticCache } from './synthetic-cache.ts'

/** What is done to a request; members add up (`delay` and `wrongByte` and `cutAfter`). Times in ms, offsets into the body sent. */
export interface Behaviour {
  /** Only this many requests are treated so; default: all. */
  readonly times?: number
  /** Only requests for which this holds. */
  readonly when?: (request: SeenRequest) => boolean
  /** Waits before the status line. */
  readonly delay?: number
  /** Holds the answer back until this is fulfilled. */
  readonly until?: Promise<unknown>
  /** Takes the request and says nothing, ever. */
  readonly never?: true
  /** Closes the connection without an answer: with FIN, or with RST. */
  readonly hangUp?: 'close' | 'reset'
  /** These very bytes on the socket, which is then closed: malformed HTTP. */
  readonly raw?: string | Uint8Array
  readonly status?: number
  /** Added to the headers; undefined takes one away. */
  readonly headers?: Readonly<Record<string, string | undefined>>
  /** Sent instead of the cache's file. */
  readonly body?: string | Uint8Array
  /** A captive portal: 200 text/html, unless `status` says otherwise. */
  readonly html?: true
  /** 302 (or `status`) with this Location. */
  readonly redirect?: string
  /** Content-Encoding, applied and declared. */
  readonly encoding?: 'gzip' | 'br' | 'zstd'
  /** Flips the bits of the byte at this offset. */
  readonly wrongByte?: number
  /** Destroys the socket after so many bytes of body; with `reset`, by RST. */
  readonly cutAfter?: number
  readonly reset?: true
  /** After so many bytes of body, waits until this is fulfilled; only then come a drip, and what the others say. */
  readonly hold?: { readonly after: number; readonly until: Promise<unknown> }
  /** Ends the body cleanly after so many bytes; with `chunked`, else Content-Length would tell. */
  readonly endAfter?: number
  /** After so many bytes of body, silence. */
  readonly stallAfter?: number
  /** So many bytes at a time, so many ms apart. */
  readonly drip?: { readonly bytes: number; readonly every: number }
  /** No Content-Length. */
  readonly chunked?: true
  /** After the body, random bytes without end. Implies `chunked`. */
  readonly endless?: true
  /** Answers 200 with everything to a Range. */
  readonly ignoreRange?: true
  /** Answers 206 although no Range was asked, or whatever was asked: with this Content-Range and the part it names of the body. */
  readonly lie206?: { readonly contentRange: string | undefined; readonly start: number; readonly end: number }
}

export interface SeenRequest {
  readonly method: string
  /** With query. */
  readonly url: string
  /** Without query, and without the base path. */
  readonly path: string
  readonly headers: IncomingHttpHeaders
  /** Which connection it came over: 0 for the first. */
  readonly connection: number
}

export interface ScriptedUpstreamOptions {
  readonly cache?: SyntheticCache
  /** `/nested/cache/`: where the cache begins. Default `/`. */
  readonly basePath?: string
  /** Default `127.0.0.1`. */
  readonly host?: string
}

export interface ScriptedUpstream {
  /** `http://127.0.0.1:<port>/` and the base path. */
  readonly url: URL
  readonly port: number
  /** Everything asked so far, in order. */
  readonly requests: readonly SeenRequest[]
  /** How many requests for this path (without query), or how many in all. */
  count(path?: string | RegExp): number
  /** Scripts a path (without query, from the base path on). */
  script(path: string | RegExp, behaviour: Behaviour): void
  /** Forgets all scripts. */
  unscript(): void
  /** Fulfilled when this path has been asked so many times (default: once) since the start. */
  seen(path: string | RegExp, times?: number): Promise<void>
  /** Fulfilled when no answer is under way any more: each was sent whole, or its socket is gone. */
  idle(): Promise<void>
  /** Answers under way: begun or held back. */
  readonly underWay: number
  /** Open connections, and how many there ever were. */
  readonly connections: number
  readonly connectionsEver: number
  /** Fulfilled when no connection is open any more. */
  disconnected(): Promise<void>
  /** Closes idle connections, as a server does to kept-alive ones. */
  closeIdle(): void
  /** Goes away: nobody listens at the port, and every connection is reset. */
  down(): Promise<void>
  /** Comes back at the same port. */
  up(): Promise<void>
  close(): Promise<void>
}

export async function startScriptedUpstream(options: ScriptedUpstreamOptions = {}): Promise<ScriptedUpstream> {
  const upstream = new Running(options)
  await upstream.up()
  return upstream
}

interface Script {
  readonly path: string | RegExp
  readonly behaviour: Behaviour
  left: number
}

class Running implements ScriptedUpstream {
  readonly requests: SeenRequest[] = []
  connectionsEver = 0
  #port = 0
  #underWay = 0
  #server: Server | undefined
  readonly #host: string
  readonly #base: string
  readonly #cache: SyntheticCache | undefined
  readonly #sockets = new Map<Socket, number>()
  #scripts: Script[] = []
  readonly #watchers = new Set<() => void>()

  constructor({ cache, basePath = '/', host = '127.0.0.1' }: ScriptedUpstreamOptions) {
    this.#cache = cache
    this.#base = basePath
    this.#host = host
  }

  get url(): URL {
    return new URL(`http://${this.#host.includes(':') ? `[${this.#host}]` : this.#host}:${this.#port}${this.#base}`)
  }

  get port(): number {
    return this.#port
  }

  get underWay(): number {
    return this.#underWay
  }

  get connections(): number {
    return this.#sockets.size
  }

  count(path?: string | RegExp): number {
    return this.requests.filter((request) => path === undefined || fits(path, request.path)).length
  }

  script(path: string | RegExp, behaviour: Behaviour): void {
    this.#scripts.unshift({ path, behaviour, left: behaviour.times ?? Infinity })
  }

  unscript(): void {
    this.#scripts = []
  }

  seen(path: string | RegExp, times = 1): Promise<void> {
    return this.#when(() => this.count(path) >= times)
  }

  idle(): Promise<void> {
    return this.#when(() => this.#underWay === 0)
  }

  disconnected(): Promise<void> {
    return this.#when(() => this.#sockets.size === 0)
  }

  closeIdle(): void {
    this.#server?.closeIdleConnections()
  }

  async up(): Promise<void> {
    const server = createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
      this.#answer(request, response)
    })
    server.on('connection', (socket: Socket) => {
      this.#sockets.set(socket, this.connectionsEver)
      this.connectionsEver += 1
      socket.on('error', () => {})
      socket.once('close', () => {
        this.#sockets.delete(socket)
        this.#changed()
      })
    })
    server.listen(this.#port, this.#host)
    await once(server, 'listening')
    this.#server = server
    this.#port = (server.address() as AddressInfo).port
  }

  async down(): Promise<void> {
    const server = this.#server
    if (server === undefined) return
    this.#server = undefined
    const closed = once(server, 'close')
    server.close()
    for (const socket of this.#sockets.keys()) socket.resetAndDestroy()
    await closed
    await this.disconnected()
  }

  close(): Promise<void> {
    return this.down()
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = request.url ?? '/'
    const whole = url.split('?', 1)[0] ?? '/'
    const seen: SeenRequest = {
      method: request.method ?? 'GET',
      url,
      path: whole.startsWith(this.#base) ? whole.slice(this.#base.length - 1) : `outside:${whole}`,
      headers: request.headers,
      connection: this.#sockets.get(request.socket) ?? -1,
    }
    this.requests.push(seen)
    this.#underWay += 1
    response.once('close', () => {
      this.#underWay -= 1
      this.#changed()
    })
    this.#changed()
    void this.#play(seen, response, this.#take(seen)).catch(() => response.destroy())
  }

  #take(seen: SeenRequest): Behaviour {
    const script = this.#scripts.find(
      ({ path, behaviour, left }) => left > 0 && fits(path, seen.path) && (behaviour.when?.(seen) ?? true),
    )
    if (script === undefined) return {}
    script.left -= 1
    return script.behaviour
  }

  async #play(seen: SeenRequest, response: ServerResponse, behaviour: Behaviour): Promise<void> {
    if (behaviour.delay !== undefined) await pause(behaviour.delay)
    await behaviour.until
    if (behaviour.never === true || response.destroyed) return
    if (behaviour.hangUp === 'reset') response.socket?.resetAndDestroy()
    if (behaviour.hangUp !== undefined) response.socket?.end()
    if (behaviour.hangUp !== undefined) return
    if (behaviour.raw !== undefined) {
      response.socket?.end(behaviour.raw)
      return
    }
    const { status, headers, body } = this.#compose(seen, behaviour)
    response.writeHead(status, headers)
    if (seen.method === 'HEAD') response.end()
    else await send(response, body, behaviour)
  }

  #compose(seen: SeenRequest, behaviour: Behaviour): { status: number; headers: Record<string, string>; body: Buffer } {
    const file = this.#cache?.files.get(seen.path)
    const own = behaviour.html === true ? '<html><body>Please log in</body></html>' : behaviour.body
    let body: Buffer = Buffer.from(own ?? file?.body ?? (behaviour.status === undefined ? 'not found\n' : ''))
    let status = own === undefined && file === undefined ? 404 : 200
    const headers: Record<string, string | undefined> = {
      'content-type': behaviour.html === true ? 'text/html' : (file?.type ?? 'text/plain'),
      'accept-ranges': 'bytes',
    }
    if (behaviour.redirect !== undefined) {
      status = 302
      headers['location'] = behaviour.redirect
      body = Buffer.alloc(0)
    }
    if (behaviour.wrongByte !== undefined) body[behaviour.wrongByte]! ^= 0xff
    if (behaviour.encoding !== undefined) {
      body = encoded(body, behaviour.encoding)
      headers['content-encoding'] = behaviour.encoding
    }
    const range = /^bytes=(\d+)-(\d*)$/.exec(seen.headers.range ?? '')
    if (behaviour.lie206 !== undefined) {
      status = 206
      headers['content-range'] = behaviour.lie206.contentRange
      body = body.subarray(behaviour.lie206.start, behaviour.lie206.end + 1)
    } else if (range !== null && status === 200 && behaviour.ignoreRange !== true) {
      const start = Number(range[1])
      const end = Math.min(range[2] === '' ? Infinity : Number(range[2]), body.length - 1)
      status = start < body.length ? 206 : 416
      headers['content-range'] = start < body.length ? `bytes ${start}-${end}/${body.length}` : `bytes */${body.length}`
      body = start < body.length ? body.subarray(start, end + 1) : Buffer.alloc(0)
    }
    if (behaviour.chunked !== true && behaviour.endless !== true) headers['content-length'] = String(body.length)
    const all = Object.entries({ ...headers, ...behaviour.headers })
    return {
      status: behaviour.status ?? status,
      headers: Object.fromEntries(all.filter((pair): pair is [string, string] => pair[1] !== undefined)),
      body,
    }
  }

  #when(holds: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!holds()) return
        this.#watchers.delete(look)
        resolve()
      }
      this.#watchers.add(look)
      look()
    })
  }

  #changed(): void {
    for (const look of this.#watchers) look()
  }
}

async function send(response: ServerResponse, body: Buffer, behaviour: Behaviour): Promise<void> {
  const stop = Math.min(
    behaviour.cutAfter ?? Infinity,
    behaviour.stallAfter ?? Infinity,
    behaviour.endAfter ?? Infinity,
  )
  const sent = body.subarray(0, stop)
  const step = behaviour.drip?.bytes ?? 64 * 1024
  const { hold, reset } = behaviour
  if (hold !== undefined || behaviour.stallAfter === 0) response.flushHeaders()
  if (hold !== undefined) {
    await write(response, sent.subarray(0, hold.after))
    await hold.until
  }
  for (let at = hold?.after ?? 0; at < sent.length && !response.destroyed; at += step) {
    if (behaviour.drip !== undefined && at > 0) await pause(behaviour.drip.every)
    await write(response, sent.subarray(at, at + step))
  }
  while (behaviour.endless === true && !response.destroyed) await write(response, randomBytes(64 * 1024))
  if (response.destroyed || behaviour.stallAfter !== undefined) return
  if (behaviour.cutAfter === undefined) response.end()
  else if (reset === true) response.socket?.resetAndDestroy()
  else response.destroy()
}

/** Waits until the client takes the bytes, or has gone. */
function write(response: ServerResponse, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    response.once('close', resolve)
    response.write(bytes, () => {
      response.off('close', resolve)
      // Node 26 calls back at once, and an endless body would keep everybody else from their turn.
      setImmediate(resolve)
    })
  })
}

function encoded(body: Buffer, encoding: 'gzip' | 'br' | 'zstd'): Buffer {
  if (encoding === 'gzip') return gzipSync(body)
  return encoding === 'br' ? brotliCompressSync(body) : zstdSync(body)
}

function fits(wanted: string | RegExp, path: string): boolean {
  return typeof wanted === 'string' ? wanted === path : wanted.test(path)
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
