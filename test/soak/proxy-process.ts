// The built proxy in a process of its own, and what that process holds.

import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

import type { Held } from './probe.js'

const program = join(import.meta.dirname, '../../dist/main.js')
const probe = new URL('probe.js', import.meta.url).href

export class ProxyProcess {
  readonly url: string
  /** Warnings and errors by their text, without what differs from one to the next, and how often each came. */
  readonly complaints: ReadonlyMap<string, number>
  readonly #child: ChildProcess

  /** Starts `serve` with a configuration; resolves when it listens. */
  static async start(config: string): Promise<ProxyProcess> {
    const child = fork(program, ['serve', '--config', config], {
      execArgv: ['--expose-gc', '--import', probe],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    const complaints = new Map<string, number>()
    const last: string[] = []
    const url = await new Promise<string>((resolve, reject) => {
      child.once('exit', () => reject(new Error(`the proxy has ended: ${last.join('\n')}`)))
      if (!child.stderr) return
      createInterface({ input: child.stderr }).on('line', (line) => {
        last.push(line)
        last.splice(0, last.length - 20)
        if (/ error /.test(line)) complaints.set(line, (complaints.get(line) ?? 0) + 1)
        const [, address] = /listening on (http:\S+)/.exec(line) ?? []
        if (address) resolve(address)
      })
    })
    return new ProxyProcess(child, url, complaints)
  }

  private constructor(child: ChildProcess, url: string, complaints: ReadonlyMap<string, number>) {
    this.#child = child
    this.url = url
    this.complaints = complaints
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** What it holds after a collection, and how many descriptors. */
  async held(): Promise<Held & { readonly descriptors: number }> {
    const answer = once(this.#child, 'message') as Promise<[Held]>
    this.#child.send('held')
    const [held] = await answer
    return { ...held, descriptors: (await readdir(`/proc/${this.#child.pid}/fd`)).length }
  }

  /** Stops it as an operator would; its exit code. */
  async stop(): Promise<number | null> {
    if (!this.running) return this.#child.exitCode
    const exit = once(this.#child, 'exit') as Promise<[number | null]>
    this.#child.kill('SIGTERM')
    return (await exit)[0]
  }
}
