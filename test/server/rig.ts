// The server on a real socket with doubles behind it, a plain HTTP client, and bodies that do what a test says.

import { once } from 'node:events'
import { Agent, request, type IncomingHttpHeaders } from 'node:http'
import { connect, type Socket } from 'node:net'

import { expect, onTestFinished, vi } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import { createLog } from '../../src/log.ts'
import { Metrics } from '../../src/metrics.ts'
import { narFileName, narIdentity, sameNar } from '../../src/nix/nar-url.ts'
import { parseNarInfo, type NarInfo } from '../../src/nix/narinfo.ts'
import { createApp } from '../../src/server/app.ts'
import { listen, type Limits, type Listener } from '../../src/server/listen.ts'
import type { ServerParts } from '../../src/server/parts.ts'
import type { Status } from '../../src/server/status.ts'
import type { Asking, ByteRange, Substitute, Substituter, Wanted } from '../../src/substituter.ts'
import { SyntheticCache, type EntryOptions } from '../support/synthetic-cache.ts'

export interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  /** The socket broke before the body's end. */
  readonly cut: boolean
}

export interface AskOptions {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: string | Uint8Array
}

export interface Rig {
  readonly port: number
  readonly listener: Listener
  readonly metrics: Metrics
  /** The access log, a JSON object a line. */
  readonly lines: Record<string, unknown>[]
  ask(path: string, options?: AskOptions): Promise<Reply>
  /** Sends these bytes on a connection of its own, and gives all that comes back until the server closes it. */
  raw(text: string): Promise<string>
  /** A connection of its own, closed at the end of the test. */
  open(): Promise<Socket>
  /** How often something has been counted. */
  counted(metric: 'narinfos' | 'nars' | 'uploads', outcome: string): Promise<number>
}

export const status: Status = {
  hostname: 'tent',
  version: '0.1.0',
  instanceId: 'us',
  uptime: 100,
  uplink: 'ok',
  strata: [],
  store: { state: 'ok', bytes: 0, nars: 0, narinfos: 0, free: undefined, maxSize: undefined },
  fills: [],
  keys: ['cache.test-1'],
}

/** Has nothing. */
export const empty: Substituter = { name: 'empty', find: () => Promise.resolve(undefined) }

export async function serve(parts: Partial<ServerParts> = {}, limits: Partial<Limits> = {}): Promise<Rig> {
  const metrics = new Metrics()
  const lines: Record<string, unknown>[] = []
  const write = (line: string): void => void lines.push(JSON.parse(line) as Record<string, unknown>)
  const handler = createApp({
    substituter: empty,
    held: empty,
    resource: () => Promise.resolve(undefined),
    foreignNar: () => Promise.resolve(undefined),
    uploads: undefined,
    status: () => status,
    ready: () => true,
    metrics,
    instanceId: 'us',
    storeDir: '/nix/store',
    priority: 30,
    unreachable: 'miss',
    deadline: 10_000,
    access: createLog({ level: 'debug', format: 'json', write }),
    ...parts,
  })
  const listener = await listen({ handler, addresses: ['127.0.0.1:0'], limits })
  const port = Number(listener.addresses[0]?.split(':').at(-1))
  const agent = new Agent({ keepAlive: true })
  const sockets: Socket[] = []
  onTestFinished(async () => {
    agent.destroy()
    for (const socket of sockets) socket.destroy()
    await listener.stop(0)
    // Whatever was opened has been read to its end or let go of.
    await vi.waitFor(() => expect(TestBody.unfinished).toBe(0))
  })
  const open = async (): Promise<Socket> => {
    const socket = connect(port, '127.0.0.1')
    sockets.push(socket)
    socket.on('error', () => {})
    await once(socket, 'connect')
    return socket
  }
  return {
    port,
    listener,
    metrics,
    lines,
    open,
    ask: (path, options) => ask(agent, port, path, options),
    raw: async (text) => {
      const socket = await open()
      let got = ''
      socket.on('data', (chunk: Buffer) => (got += chunk.toString('latin1')))
      socket.write(text)
      await once(socket, 'close')
      return got
    },
    counted: async (metric, outcome) => {
      const { values } = await metrics[metric].get()
      return values.find(({ labels }) => labels.outcome === outcome)?.value ?? 0
    },
  }
}

function ask(agent: Agent, port: number, path: string, { method = 'GET', headers = {}, body }: AskOptions = {}) {
  return new Promise<Reply>((resolve, reject) => {
    const asked = request({ agent, port, host: '127.0.0.1', method, path, headers }, (reply) => {
      const chunks: Buffer[] = []
      const end = (cut: boolean): void =>
        resolve({ status: reply.statusCode ?? 0, headers: reply.headers, body: Buffer.concat(chunks), cut })
      reply.on('data', (chunk: Buffer) => chunks.push(chunk))
      reply.on('end', () => end(!reply.complete))
      reply.on('error', () => end(true))
    })
    asked.on('error', reject)
    asked.end(body)
  })
}

/** A chunk, a failure, `wait` (nothing more comes until the signal fires), or a promise to wait for. */
export type Step = Uint8Array | Error | 'wait' | Promise<unknown>

/** A body whose one buffer is used again for every chunk, as those from disk are. */
export class TestBody implements AsyncIterable<Uint8Array> {
  static unfinished = 0
  /** Chunks asked for so far. */
  asked = 0
  finished = false
  readonly #steps: Iterator<Step>
  readonly #signal: AbortSignal
  #buffer = Buffer.alloc(0)

  constructor(steps: Iterable<Step>, signal: AbortSignal) {
    this.#steps = steps[Symbol.iterator]()
    this.#signal = signal
    TestBody.unfinished += 1
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return { next: () => this.#next(), return: () => this.#return() }
  }

  async #next(): Promise<IteratorResult<Uint8Array>> {
    this.asked += 1
    this.#buffer.fill(0xee)
    await Promise.resolve()
    const { value: step, done } = this.#steps.next()
    if (done === true) return this.#return()
    if (step === 'wait') {
      if (!this.#signal.aborted) await once(this.#signal, 'abort')
      this.#finish()
      throw new ProxyError('aborted', 'test: told to stop')
    }
    if (step instanceof Error) {
      this.#finish()
      throw step
    }
    if (step instanceof Promise) {
      await step
      return this.#next()
    }
    if (this.#buffer.length < step.byteLength) this.#buffer = Buffer.alloc(step.byteLength)
    this.#buffer.set(step)
    return { done: false, value: this.#buffer.subarray(0, step.byteLength) }
  }

  #return(): Promise<IteratorResult<Uint8Array>> {
    this.#finish()
    return Promise.resolve({ done: true, value: undefined })
  }

  #finish(): void {
    if (!this.finished) TestBody.unfinished -= 1
    this.finished = true
  }
}

export interface Opened {
  readonly range: ByteRange | undefined
  readonly signal: AbortSignal
  readonly body: TestBody
}

export interface TestNarOptions extends EntryOptions {
  /** What `Nar.size` says; `unknown`: undefined. Default: the truth. */
  readonly size?: number | 'unknown'
  /** The body of the part that was asked for; default: the right bytes, 1000 at a time. */
  readonly steps?: (part: Buffer) => Iterable<Step>
  /** Instead of opening. */
  readonly failing?: Error
  readonly from?: string
}

/** A path with its NAR, and what was done with it. */
export interface TestNar {
  readonly narinfo: NarInfo
  readonly file: Buffer
  /** `/nar/<our form>` */
  readonly path: string
  /** `/<hash>.narinfo` */
  readonly narinfoPath: string
  readonly substitute: Substitute
  readonly opened: Opened[]
}

const cache = new SyntheticCache()

export function testNar(options: TestNarOptions = {}): TestNar {
  const { size, failing, steps = pieces, from = 'cache.test', ...entry } = options
  const { narinfo: text, file, narinfoPath } = cache.add(entry)
  const narinfo = parseNarInfo(text, '/nix/store')
  const opened: Opened[] = []
  const substitute: Substitute = {
    narinfo,
    from,
    signedBy: 'cache.test-1',
    peer: false,
    open(range, signal) {
      if (failing) return Promise.reject(failing)
      const { start, end = file.length - 1 } = range ?? { start: 0 }
      const body = new TestBody(steps(file.subarray(start, end + 1)), signal)
      opened.push({ range, signal, body })
      return Promise.resolve({ size: size === 'unknown' ? undefined : (size ?? file.length), body })
    },
  }
  const path = `/nar/${narFileName(narinfo.storePath.hash, narIdentity(narinfo))}`
  return { narinfo, file, path, narinfoPath, substitute, opened }
}

export function* pieces(part: Buffer): Generator<Buffer, void, void> {
  for (let at = 0; at < part.length; at += 1000) yield part.subarray(at, at + 1000)
}

export interface TestSubstituter extends Substituter {
  readonly asked: { readonly wanted: Wanted; readonly asking: Asking }[]
}

/** Has these paths: on our disk, or in a stratum. */
export function having(
  nars: readonly TestNar[],
  { stratum = 'far' }: { readonly stratum?: string } = {},
): TestSubstituter {
  const asked: TestSubstituter['asked'] = []
  return {
    name: stratum,
    asked,
    find(wanted, asking) {
      asked.push({ wanted, asking })
      const { hash, nar } = wanted
      const found = nars.find(({ narinfo }) => narinfo.storePath.hash === hash)?.substitute
      const right = found && (!nar || sameNar(nar, narIdentity(found.narinfo))) ? found : undefined
      const who = stratum === 'store' ? 'store' : (found?.from ?? 'cache.test')
      const entry = asking.trail.ask(who, stratum)
      asking.trail.settle(entry, right ? { kind: 'found', signedBy: right.signedBy } : { kind: 'missed' })
      if (right) asking.trail.winner = who
      return Promise.resolve(right)
    },
  }
}

/** Answers what the function does. */
export function answering(find: Substituter['find']): TestSubstituter {
  const asked: TestSubstituter['asked'] = []
  return {
    name: 'scripted',
    asked,
    find(wanted, asking) {
      asked.push({ wanted, asking })
      return find(wanted, asking)
    },
  }
}

/** Says nothing until it is told to stop. */
export async function untilStopped({ signal }: Asking): Promise<never> {
  if (!signal.aborted) await once(signal, 'abort')
  throw new ProxyError('aborted', 'test: told to stop')
}
