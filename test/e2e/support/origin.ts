// A plain binary cache: a directory of files behind a real HTTP server with Range, which writes down what it was asked and can be
// told to misbehave for some requests.

import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'

import { onTestFinished } from 'vitest'

/** One request as it came, in the order of arrival. */
export interface Asked {
  readonly method: string
  /** With its leading slash and query. */
  readonly path: string
  readonly headers: IncomingMessage['headers']
}

/** Answers a request instead of the directory, and says so by returning true. */
export type Intercept = (request: IncomingMessage, response: ServerResponse) => boolean

export interface OriginOptions {
  /** A binary cache as `nix copy --to file://…` writes it. Without one every path is 404. */
  readonly dir?: string
  readonly intercept?: Intercept
}

export class Origin {
  readonly url: string
  readonly asked: Asked[] = []
  readonly #server: Server

  private constructor(server: Server, url: string) {
    this.#server = server
    this.url = url
  }

  /** Listens on a port of its own on 127.0.0.1 until the test has finished. */
  static async start({ dir, intercept = () => false }: OriginOptions): Promise<Origin> {
    const server = createServer({ keepAliveTimeout: 95_000 })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const origin = new Origin(server, `http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    server.on('request', (request, response) => {
      origin.asked.push({ method: request.method ?? '', path: request.url ?? '', headers: request.headers })
      if (intercept(request, response)) return
      answer(dir, request, response).catch((error: unknown) => response.destroy(error as Error))
    })
    onTestFinished(() => origin.stop())
    return origin
  }

  /** Paths of the GET requests for narinfos and for NARs: what a cache was really asked for, without nix-cache-info. */
  get fetched(): readonly string[] {
    return this.asked
      .filter(({ method, path }) => method === 'GET' && !path.endsWith('/nix-cache-info'))
      .map(({ path }) => path)
  }

  /** Refuses new connections and cuts those that are open. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
  }
}

/** An address where nobody listens. */
export async function deadUrl(): Promise<string> {
  const origin = await Origin.start({})
  await origin.stop()
  return origin.url
}

async function answer(dir: string | undefined, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') return end(response, 405)
  const path = new URL(request.url ?? '/', 'http://origin').pathname
  const file = dir === undefined ? undefined : join(dir, path)
  const size = file === undefined ? undefined : await sizeOf(file)
  if (file === undefined || size === undefined) return end(response, 404)
  response.setHeader('Accept-Ranges', 'bytes')
  const range = request.headers.range === undefined ? { start: 0, end: size - 1 } : within(request.headers.range, size)
  if (range === undefined) {
    response.setHeader('Content-Range', `bytes */${size}`)
    return end(response, 416)
  }
  if (request.headers.range !== undefined) {
    response.statusCode = 206
    response.setHeader('Content-Range', `bytes ${range.start}-${range.end}/${size}`)
  }
  response.setHeader('Content-Length', range.end - range.start + 1)
  if (request.method === 'HEAD' || size === 0) response.end()
  else createReadStream(file, range).pipe(response)
}

function end(response: ServerResponse, status: number): void {
  response.statusCode = status
  response.setHeader('Content-Length', 0)
  response.end()
}

async function sizeOf(file: string): Promise<number | undefined> {
  const found = await stat(file).catch(() => undefined)
  return found?.isFile() === true ? found.size : undefined
}

/** `bytes=2-5`, `bytes=2-` and `bytes=-4` of `size` bytes, both ends included; undefined when nothing lies inside. */
function within(range: string, size: number): { start: number; end: number } | undefined {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(range) ?? []
  const start = first === '' ? Math.max(0, size - Number(last)) : Number(first)
  const end = first === '' || last === '' ? size - 1 : Math.min(Number(last), size - 1)
  return start <= end ? { start, end } : undefined
}
