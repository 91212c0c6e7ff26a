// Clients of every kind, as many as a small event has, all at once: they fetch, look, skip, dawdle, hang up, upload and ask nonsense.

import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'

import type { SyntheticEntry } from '../support/synthetic-cache.ts'

export interface ClientsOptions {
  readonly url: string
  /** What upstreams have. */
  readonly entries: readonly SyntheticEntry[]
  /** What only clients have, and upload. */
  readonly uploads: readonly SyntheticEntry[]
  /** Hashes that nobody has. */
  readonly absent: readonly string[]
  readonly random: () => number
}

/** Milliseconds after which a client gives up. */
const patience = 20_000

export class Clients {
  requests = 0
  nars = 0
  uploaded = 0
  /** Answers that were wrong: none are allowed. */
  readonly wrong: string[] = []
  readonly #options: ClientsOptions
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 8 })

  constructor(options: ClientsOptions) {
    this.#options = options
  }

  /** So many at a time, until the signal fires; resolves when all have come to rest. */
  async run(count: number, signal: AbortSignal): Promise<void> {
    const one = async (serial: number): Promise<void> => {
      while (!signal.aborted) await this.#act(serial).catch(() => {})
    }
    await Promise.all(Array.from({ length: count }, (_, serial) => one(serial)))
  }

  /** Closes idle connections; more can be opened. */
  close(): void {
    this.#agent.destroy()
  }

  async #act(serial: number): Promise<void> {
    const { entries, absent, random, uploads } = this.#options
    const entry = this.#oneOf(entries)
    const kind = random()
    if (kind < 0.35) return void (await this.#ask(`/${entry.hash}.narinfo`))
    if (kind < 0.45) return void (await this.#ask(`/${this.#oneOf(absent)}.narinfo`))
    if (kind < 0.5) return void (await this.#ask(`/${entry.hash}.narinfo`, { method: 'HEAD' }))
    if (kind < 0.54)
      return void (await this.#ask(this.#oneOf(['/', '/metrics', '/health', '/nar/x', '/%ff', '/log/x'])))
    if (kind < 0.6) return this.#upload(this.#oneOf(uploads.filter((_, at) => at % 4 === serial % 4)))
    const url = await this.#narUrl(entry)
    if (url === undefined) return undefined
    if (kind < 0.65) return void (await this.#ask(url, { method: 'HEAD' }))
    if (kind < 0.72) return this.#hangUp(url, entry)
    if (kind < 0.74) return this.#dawdle(url)
    return this.#fetch(url, entry, kind < 0.8)
  }

  async #narUrl({ hash }: SyntheticEntry): Promise<string | undefined> {
    const { status, body } = await this.#ask(`/${hash}.narinfo`)
    const [, url] = /^URL: (.*)$/m.exec(body.toString()) ?? []
    return status === 200 && url !== undefined ? `/${url}` : undefined
  }

  async #fetch(url: string, { file, hash }: SyntheticEntry, part: boolean): Promise<void> {
    const start = part ? Math.floor(file.length / 3) : 0
    this.nars += 1
    const { status, body } = await this.#ask(url, part ? { headers: { range: `bytes=${start}-` } } : {})
    const right = status === 200 ? file : file.subarray(start)
    if (status < 300 && !body.equals(right)) this.wrong.push(`${hash}: ${body.length} bytes of ${right.length}`)
  }

  /** Goes away in the middle. */
  async #hangUp(url: string, { file }: SyntheticEntry): Promise<void> {
    const response = await this.#open(url)
    let left = file.length / 2
    for await (const chunk of response as AsyncIterable<Buffer>) {
      left -= chunk.length
      if (left < 0) break
    }
    response.destroy()
  }

  /** Reads nothing for a while, then everything. */
  async #dawdle(url: string): Promise<void> {
    const response = await this.#open(url)
    const closed = new Promise((resolve) => response.once('close', resolve))
    response.on('error', () => {})
    await delay(200)
    response.resume()
    await closed
  }

  /** As `nix copy` does: what is there already is not sent. */
  async #upload(entry: SyntheticEntry): Promise<void> {
    if ((await this.#ask(`/${entry.hash}.narinfo`, { method: 'HEAD' })).status === 200) return
    await this.#ask(entry.narPath, { method: 'PUT' }, entry.file)
    const { status } = await this.#ask(`/${entry.hash}.narinfo`, { method: 'PUT' }, Buffer.from(entry.narinfo))
    if (status === 201) this.uploaded += 1
  }

  async #ask(path: string, options: Asked = {}, body?: Buffer): Promise<{ status: number; body: Buffer }> {
    const response = await this.#open(path, options, body)
    const parts: Buffer[] = []
    for await (const part of response as AsyncIterable<Buffer>) parts.push(part)
    return { status: response.statusCode ?? 0, body: Buffer.concat(parts) }
  }

  #open(path: string, { method = 'GET', headers = {} }: Asked = {}, body?: Buffer): Promise<IncomingMessage> {
    this.requests += 1
    const { url, random } = this.#options
    // Every tenth comes over a connection of its own.
    const agent = random() < 0.1 ? false : this.#agent
    return new Promise((resolve, reject) => {
      const length = body ? { 'content-length': body.length } : {}
      const request = httpRequest(`${url}${path}`, { method, agent, headers: { ...headers, ...length } }, resolve)
      request.setTimeout(patience, () => request.destroy(new Error('no answer')))
      request.on('error', reject)
      request.end(body)
    })
  }

  #oneOf<T>(all: readonly T[]): T {
    const one = all[Math.floor(this.#options.random() * all.length)]
    if (one === undefined) throw new Error('nothing to choose from')
    return one
  }
}

interface Asked {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
}
