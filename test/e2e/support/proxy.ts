// The built program as its users run it: a process of its own with its own store and home.

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { onTestFailed, onTestFinished } from 'vitest'

import { finish, type Finished } from './client.ts'
import { tempDir } from './temp-dir.ts'

export const repository = join(import.meta.dirname, '..', '..', '..')
const program = join(repository, 'dist', 'main.js')

/** Until the listening line. The program itself needs a fraction of a second; the machine may be busy. */
const startMs = 30_000
/** From SIGTERM to the end of the process. */
const stopMs = 20_000

export interface ProxyOptions {
  /** One --upstream each: URLs, or what has one. */
  readonly upstreams?: readonly (string | { readonly url: string })[]
  /** One --trusted-key each. */
  readonly keys?: readonly string[]
  /** --max-size, as `2MiB`. */
  readonly maxSize?: string
  /** Text of a configuration file, given with --config; the flags still win. */
  readonly config?: string
  /** The same store again, after an earlier proxy has ended. */
  readonly store?: string
  /** `127.0.0.1:8501`; by default a free port. */
  readonly listen?: string
}

export class Proxy {
  readonly url: string
  readonly store: string
  readonly #child: ChildProcess
  readonly #said: Said

  private constructor(child: ChildProcess, store: string, url: string, said: Said) {
    this.#child = child
    this.store = store
    this.url = url
    this.#said = said
  }

  /** Runs `node dist/main.js serve …` until the test has finished; ready when it has said where it listens. */
  static async start(options: ProxyOptions): Promise<Proxy> {
    const { upstreams = [], keys = [], maxSize, config, store, listen = '127.0.0.1:0' } = options
    const dir = await tempDir()
    const home = join(dir, 'home')
    await mkdir(home)
    const at = store ?? join(dir, 'store')
    const args = ['serve', '--listen', listen, '--store', at]
    for (const upstream of upstreams) args.push('--upstream', typeof upstream === 'string' ? upstream : upstream.url)
    for (const key of keys) args.push('--trusted-key', key)
    if (maxSize !== undefined) args.push('--max-size', maxSize)
    if (config !== undefined) {
      await writeFile(join(dir, 'config.toml'), config)
      args.push('--config', join(dir, 'config.toml'))
    }
    const env = { PATH: process.env['PATH'], HOME: home }
    const child = spawn(process.execPath, [program, ...args], { cwd: dir, env, stdio: ['ignore', 'pipe', 'pipe'] })
    onTestFinished(() => ended(child, 'SIGKILL'))
    const said = hear(child)
    return new Proxy(child, at, await listening(child, said), said)
  }

  /** Of its process. */
  get pid(): number | undefined {
    return this.#child.pid
  }

  /** What it has logged so far. */
  get output(): string {
    return this.#said.text
  }

  /** Lets it finish by itself, as a service manager does. Throws when it does not, or not with exit code 0. */
  async stop(): Promise<void> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), stopMs)
    await ended(this.#child, 'SIGTERM')
    clearTimeout(timer)
    if (this.#child.exitCode === 0) return
    const how = this.#child.exitCode ?? this.#child.signalCode
    throw new Error(`SIGTERM should end the program with exit code 0, not ${how}:\n${this.output}`)
  }

  /** What `substrata explain` says of a path to somebody at this machine, in a process of its own. */
  async explain(path: string): Promise<Finished> {
    const dir = await tempDir()
    const config = join(dir, 'config.toml')
    await writeFile(config, `[server]\nlisten = ["${new URL(this.url).host}"]\n`)
    const env = { PATH: process.env['PATH'], HOME: dir }
    return finish(process.execPath, [program, 'explain', '--config', config, path], env)
  }

  /** `kill -9`: it gets no chance to tidy up. */
  kill(): Promise<void> {
    return ended(this.#child, 'SIGKILL')
  }
}

/** All that a process has written to its standard output and error. */
export interface Said {
  text: string
}

/** Collects what a process says, and shows it when the test fails. */
export function hear(child: ChildProcess): Said {
  const said: Said = { text: '' }
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => (said.text += text))
  }
  onTestFailed(() => {
    process.stderr.write(`--- what process ${child.pid} said\n${said.text.slice(-6000)}---\n`)
  })
  return said
}

/** Waits for the line with the address: `http://127.0.0.1:8501`. */
export function listening(child: ChildProcess, said: Said): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      clearTimeout(timer)
      reject(new Error(`the proxy ${why}:\n${said.text}`))
    }
    const look = (): void => {
      const url = /listening on (http:\/\/[^\s",/]+)/.exec(said.text)?.[1]
      if (url === undefined) return
      clearTimeout(timer)
      child.stdout?.off('data', look)
      child.stderr?.off('data', look)
      resolve(url)
    }
    const timer = setTimeout(() => fail(`did not say where it listens within ${startMs} ms`), startMs)
    child.stdout?.on('data', look)
    child.stderr?.on('data', look)
    child.on('error', (error) => fail(`could not be started: ${error.message}`))
    child.on('exit', (code, signal) => fail(`ended with ${code ?? signal}`))
  })
}

/** Sends the signal and waits for the end; at once when it has ended already. */
async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill(signal)
  await exit
}
