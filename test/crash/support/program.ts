// The built program as a child process that may be killed, starved, or told by faults.js to fail.

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { onTestFailed, onTestFinished } from 'vitest'

import { Sqlite } from '../../../src/store/sqlite.js'
import { answerOf, type Answer } from '../../support/test-proxy.ts'

/** What runs: another build than that of the repository can be named. */
export const main = process.env['SUBSTRATA_PROGRAM'] ?? join(import.meta.dirname, '..', '..', '..', 'dist', 'main.js')
/** Until it listens; the program itself needs a fraction of a second. */
const startMs = 30_000

export interface ProgramOptions {
  /** The store's directory. */
  readonly store: string
  readonly upstream: URL
  /** `name:base64` */
  readonly key: string
  /** Lines for `[store]`. */
  readonly limits?: string
  /** Orders for faults.js; undefined: it is not loaded. */
  readonly faults?: object
  /** Shell words before `exec node`: `ulimit -n 64;`. */
  readonly before?: string
  /** In a mount namespace of its own. */
  readonly unshared?: boolean
}

/** What is in the store's directory, and what the catalogue says is. */
export interface Inventory {
  /** NAR files and narinfos by name, without marks. */
  readonly files: readonly string[]
  /** NARs that have a row. */
  readonly rows: readonly string[]
  /** What is left in incoming/ and quarantine/. */
  readonly leftovers: readonly string[]
}

export class Program {
  readonly url: string
  readonly store: string
  /** Milliseconds from the start of the process to its listening line. */
  readonly startedIn: number
  readonly #child: ChildProcess
  readonly #orders: string
  readonly #said: { text: string }

  private constructor(
    started: Pick<Program, 'url' | 'store' | 'startedIn'>,
    child: ChildProcess,
    orders: string,
    said: { text: string },
  ) {
    this.url = started.url
    this.store = started.store
    this.startedIn = started.startedIn
    this.#child = child
    this.#orders = orders
    this.#said = said
  }

  /** Runs it until the test has finished; ready when it listens. */
  static async start({
    store,
    upstream,
    key,
    limits,
    faults,
    before = '',
    unshared,
  }: ProgramOptions): Promise<Program> {
    const dir = await scratch()
    const [config, orders] = [join(dir, 'config.toml'), join(dir, 'faults.json')]
    await mkdir(store, { recursive: true })
    await writeFile(
      config,
      [
        '[server]\nlisten = ["127.0.0.1:0"]\nshutdown = "1s"\nuploads = ["127.0.0.0/8"]',
        `[store]\npath = ${JSON.stringify(store)}\nmin_free = "1B"\n${limits ?? ''}`,
        `[trust]\nkeys = [${JSON.stringify(key)}]`,
        `[[strata]]\nname = "s"\n[[strata.upstreams]]\nurl = ${JSON.stringify(String(upstream))}`,
      ].join('\n'),
    )
    if (faults) await writeFile(orders, JSON.stringify(faults))
    const node = [process.execPath, ...(faults ? ['--import', join(import.meta.dirname, 'faults.js')] : []), main]
    const words = ['sh', '-c', `${before} exec "$@"`, 'sh', ...node, 'serve', '--config', config]
    const [first = '', ...rest] = unshared === true ? ['unshare', '-m', ...words] : words
    const env = { PATH: process.env['PATH'], HOME: dir, SUBSTRATA_FAULTS: orders }
    const began = performance.now()
    const child = spawn(first, rest, { cwd: dir, env, stdio: ['ignore', 'pipe', 'pipe'] })
    onTestFinished(() => ended(child))
    const said = hear(child)
    const url = await heard(child, said, /listening on (http:\/\/[^\s",/]+)/)
    const startedIn = performance.now() - began
    return new Program({ url, store, startedIn }, child, orders, said)
  }

  /** What it has logged so far. */
  get output(): string {
    return this.#said.text
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Whether the process runs no more. */
  get dead(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  /** Warnings, without the words before the sentence. */
  warnings(): readonly string[] {
    return this.#said.text.split('\n').filter((line) => / warn /i.test(line))
  }

  /** Gives new orders to faults.js; they hold once this resolves. */
  async order(faults: object): Promise<void> {
    const from = this.#said.text.length
    await writeFile(this.#orders, JSON.stringify(faults))
    this.#child.kill('SIGUSR2')
    await heard(this.#child, this.#said, /faults: (obeyed)/, from)
  }

  /** GETs a path (no leading slash). Rejects when the connection breaks. */
  get(path: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    return answerOf(`${this.url}/${path}`, headers)
  }

  async json<T>(path: string): Promise<T> {
    const { body } = await this.get(path, { accept: 'application/json' })
    return JSON.parse(body.toString())
  }

  /** The value of a metric line; 0 where it never happened. */
  async metric(name: string): Promise<number> {
    const { body } = await this.get('metrics')
    const line = body
      .toString()
      .split('\n')
      .find((line) => line.startsWith(name))
    return Number(line?.split(' ').at(-1) ?? 0)
  }

  /** The NAR of a path by way of its narinfo; with `held` only from disk. Undefined: not there (404, 504). */
  async nar(hash: string, held = false): Promise<Buffer | undefined> {
    const headers: Record<string, string> = held ? { 'cache-control': 'only-if-cached' } : {}
    const narinfo = await this.get(`${hash}.narinfo`, headers)
    if (narinfo.status !== 200) return undefined
    const url = /^URL: (.*)$/m.exec(narinfo.body.toString())?.[1] ?? ''
    const nar = await this.get(url, headers)
    return nar.status === 200 ? nar.body : undefined
  }

  /** `kill -9`: it gets no chance to tidy up. */
  kill(): Promise<void> {
    return ended(this.#child)
  }

  /** Lets it finish by itself, as a service manager does. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    await this.gone()
  }

  /** Resolves when it has ended by itself. */
  async gone(): Promise<void> {
    if (!this.dead) await once(this.#child, 'exit')
  }
}

/** Looks into a store, whether the program runs or not. */
export async function inventory(store: string): Promise<Inventory> {
  const top = join(store, 'v1')
  const listed = async (name: string): Promise<readonly string[]> =>
    (await readdir(join(top, name), { recursive: true, withFileTypes: true }).catch(() => []))
      .filter((entry) => entry.isFile())
      .map((entry) => entry.name)
      .sort()
  const catalogue = new Sqlite(join(top, 'catalogue.sqlite'), { fileMustExist: true, readonly: true })
  try {
    const rows = catalogue.prepare<[], string>(`SELECT hash || '-' || nar FROM entries WHERE size IS NOT NULL`).pluck()
    return {
      rows: rows.all().sort(),
      files: (await listed('nar')).filter((name) => !/\.(uploaded|pinned)$/.test(name)),
      leftovers: [...(await listed('incoming')), ...(await listed('quarantine'))],
    }
  } finally {
    catalogue.close()
  }
}

/** A directory that is removed when the test has finished. */
export async function scratch(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'substrata-crash-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}

function hear(child: ChildProcess): { text: string } {
  const said = { text: '' }
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => (said.text += text))
  }
  onTestFailed(() => void process.stderr.write(`--- what process ${child.pid} said\n${said.text.slice(-3000)}---\n`))
  return said
}

/** Waits for a line; the result is what the pattern's group caught. */
function heard(child: ChildProcess, said: { text: string }, pattern: RegExp, from = 0): Promise<string> {
  return new Promise((resolve, reject) => {
    const over = (): void => {
      clearTimeout(timer)
      for (const stream of [child.stdout, child.stderr]) stream?.off('data', look)
      child.off('exit', fail)
    }
    const fail = (): void => {
      over()
      reject(new Error(`the program said nothing like ${pattern}:\n${said.text}`))
    }
    const look = (): void => {
      const found = pattern.exec(said.text.slice(from))?.[1]
      if (found === undefined) return
      over()
      resolve(found)
    }
    const timer = setTimeout(fail, startMs)
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', look)
    child.on('exit', fail)
    look()
  })
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}
