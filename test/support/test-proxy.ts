// The whole proxy in this process, as `serve` composes it: its own directory and port, and a check that it leaves nothing behind.

import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { request as httpRequest, type Agent, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { expect, onTestFinished } from 'vitest'

import { compose, type Service } from '../../src/compose.ts'
import { parseConfig } from '../../src/config.ts'
import { createLog } from '../../src/log.ts'

export interface TestProxyOptions {
  /** `name:base64`; none: everything is passed through. */
  readonly keys: readonly string[]
  /** One stratum for each list of URLs. */
  readonly strata?: readonly (readonly (string | URL)[])[]
  /** Peers of the first stratum, each with its addresses. */
  readonly peers?: readonly (readonly (string | URL)[])[]
  /** How long a stop waits; default 1s. */
  readonly shutdown?: string
  /** Lines for `[server]`, `[store]` and `[[strata]]` (all of them). */
  readonly server?: string
  readonly store?: string
  readonly stratum?: string
  /** Lines for every `[[strata.upstreams]]`. */
  readonly upstream?: string
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
}

export class TestProxy {
  readonly url: string
  readonly root: string
  /** What was logged, a line each. */
  readonly lines: readonly string[]
  readonly #service: Service

  constructor(service: Service, root: string, lines: readonly string[]) {
    this.#service = service
    this.url = `http://${service.addresses[0]}`
    this.root = root
    this.lines = lines
  }

  /** GETs a path (no leading slash); rejects when the connection ends before the answer does. */
  get(path: string, headers: Readonly<Record<string, string>> = {}, method = 'GET'): Promise<Answer> {
    return answerOf(`${this.url}/${path}`, headers, method)
  }

  async narinfo(hash: string): Promise<Answer> {
    return this.get(`${hash}.narinfo`)
  }

  /** The URL that its narinfo gives a path's NAR. */
  async narUrl(hash: string): Promise<string> {
    const { status, body } = await this.narinfo(hash)
    expect(status).toBe(200)
    return /^URL: (.*)$/m.exec(body.toString())?.[1] ?? ''
  }

  /** The NAR of a path, by way of its narinfo. */
  async nar(hash: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    return this.get(await this.narUrl(hash), headers)
  }

  /** The value of a metric: `metric('substrata_fills_total', 'outcome="committed"')`; 0 where it never happened. */
  async metric(name: string, labels = ''): Promise<number> {
    const { body } = await this.get('metrics')
    const line = body
      .toString()
      .split('\n')
      .find((line) => line.startsWith(name) && line.includes(labels))
    return Number(line?.split(' ').at(-1) ?? 0)
  }

  /** Fulfilled when nothing is being fetched any more. */
  async quiet(): Promise<void> {
    await expect.poll(() => this.status().then(({ fills }) => fills), { timeout: 10_000 }).toEqual([])
  }

  async status(): Promise<{
    readonly fills: readonly unknown[]
    readonly store: { readonly nars: number; readonly state: string }
  }> {
    const { body } = await this.get('', { accept: 'application/json' })
    return JSON.parse(body.toString())
  }

  /** Stops it, and sees that no half NAR is left. */
  async stop(): Promise<void> {
    await this.#service.stop()
    expect(await readdir(join(this.root, 'v1', 'incoming'))).toEqual([])
  }
}

/** Starts one, and stops it when the test has finished. With `root` it goes on with what another one had stored there. */
export async function startProxy(options: TestProxyOptions, root?: string): Promise<TestProxy> {
  const place = root ?? (await mkdtemp(join(tmpdir(), 'substrata-proxy-')))
  const lines: string[] = []
  const log = createLog({ level: 'debug', format: 'text', write: (line) => lines.push(line) })
  const config = parseConfig(toml(options, place), 'test.toml')
  const service = await compose(config, { log, hostname: 'test', version: '0', stateDir: place, listenFds: [] })
  await service.start()
  const proxy = new TestProxy(service, place, lines)
  let stopped: Promise<void> | undefined
  const stop = proxy.stop.bind(proxy)
  proxy.stop = () => (stopped ??= stop())
  onTestFinished(async () => {
    await proxy.stop()
    if (root === undefined) await rm(place, { recursive: true, force: true })
  })
  return proxy
}

/** One request on a connection of its own. */
export function answerOf(
  url: string,
  headers: Readonly<Record<string, string>> = {},
  method = 'GET',
  agent: Agent | false = false,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { headers, method, agent }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('error', reject)
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) })
      })
    })
    request.on('error', reject)
    request.end()
  })
}

/** A response whose body is read by hand; destroy it when done. */
export function openAnswer(url: string, headers: Readonly<Record<string, string>> = {}): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { headers, agent: false }, resolve)
    request.on('error', reject)
    request.end()
  })
}

function toml(
  {
    keys,
    strata = [],
    peers = [],
    shutdown = '1s',
    server = '',
    store = '',
    stratum = '',
    upstream = '',
  }: TestProxyOptions,
  root: string,
): string {
  const list = (values: readonly (string | URL)[]): string => JSON.stringify(values.map(String))
  const stratumOf = (urls: readonly (string | URL)[], at: number): string =>
    [
      '[[strata]]',
      `name = "s${at}"`,
      at === 0 && peers.length > 0 ? 'peers = true' : '',
      stratum,
      ...urls.flatMap((url) => ['[[strata.upstreams]]', `url = ${JSON.stringify(String(url))}`, upstream]),
    ].join('\n')
  return [
    `[server]\nlisten = ["127.0.0.1:0"]\nshutdown = "${shutdown}"\n${server}`,
    `[store]\npath = ${JSON.stringify(root)}\nmin_free = "1B"\n${store}`,
    `[trust]\nkeys = ${list(keys)}\n${keys.length === 0 ? 'allow_unsigned = true' : ''}`,
    ...(strata.length > 0 ? strata : [[]]).map(stratumOf),
    ...peers.map((urls, at) => `[[peers]]\nid = "peer${at}"\nurls = ${list(urls)}`),
  ].join('\n')
}
