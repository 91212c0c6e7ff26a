// A program under measurement: started with its output in a file, watched through /proc with all its children, ended by its id.

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

export interface ProcessOptions {
  readonly command: readonly string[]
  /** What it says goes here. */
  readonly log: string
  readonly env?: NodeJS.ProcessEnv
  readonly port: number
  /** Where it will listen; default 127.0.0.1. */
  readonly host?: string
  /** The signal that ends it; nginx closes at once on SIGTERM. */
  readonly signal?: NodeJS.Signals
}

/** All that run: they must not outlive the bench, however it ends. */
const running = new Set<Process>()

/** Milliseconds in which a program must listen, and in which it must have ended. */
const patience = 120_000

export class Process {
  readonly pid: number
  readonly #child: ChildProcess
  readonly #signal: NodeJS.Signals

  private constructor(child: ChildProcess, signal: NodeJS.Signals) {
    this.#child = child
    this.pid = child.pid ?? 0
    this.#signal = signal
    running.add(this)
    child.on('exit', () => running.delete(this))
  }

  /** Resolves when the port takes connections. Rejects, with the end of its log, when the program ends or does not come up. */
  static async start({
    command,
    log,
    env,
    port,
    host = '127.0.0.1',
    signal = 'SIGTERM',
  }: ProcessOptions): Promise<Process> {
    const output = openSync(log, 'a')
    const [program = '', ...args] = command
    // A group of its own: a shell's children end with it.
    const child = spawn(program, args, { stdio: ['ignore', output, output], env: env ?? process.env, detached: true })
    closeSync(output)
    const started = new Process(child, signal)
    let failure: Error | undefined
    child.on('error', (error) => (failure = error))
    for (const end = performance.now() + patience; ; await delay(2)) {
      if (await listens(host, port)) return started
      if (failure || child.exitCode !== null || performance.now() > end) {
        await started.stop()
        const said = readFileSync(log, 'utf8').slice(-2000)
        throw new Error(`${command.join(' ')} does not listen on ${port}:\n${said}`, { cause: failure })
      }
    }
  }

  /** Lets it end by itself, its children with it. */
  async stop(): Promise<void> {
    if (this.pid === 0 || this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const gone = once(this.#child, 'exit')
    process.kill(-this.pid, this.#signal)
    const late = setTimeout(() => process.kill(-this.pid, 'SIGKILL'), patience)
    await gone
    clearTimeout(late)
  }

  /** Ends all that run, in no time: for when the bench is interrupted. */
  static killAll(): void {
    for (const { pid } of running) process.kill(-pid, 'SIGKILL')
  }

  /** Sends a signal to the program itself. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Resident bytes of the program and its children, now. */
  resident(): number {
    return this.#sum((pid) => 1024 * field(`/proc/${pid}/status`, 'VmRSS'))
  }

  /** The most resident bytes that each of them has had, added up. */
  mostResident(): number {
    return this.#sum((pid) => 1024 * field(`/proc/${pid}/status`, 'VmHWM'))
  }

  /** Bytes that they caused to be written to the disk so far: the page cache counts, whatever was removed before it got there too. */
  written(): number {
    return this.#sum((pid) => field(`/proc/${pid}/io`, 'write_bytes'))
  }

  #sum(figure: (pid: number) => number): number {
    return family(this.pid).reduce((sum, pid) => sum + figure(pid), 0)
  }
}

function family(pid: number): readonly number[] {
  try {
    const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    )
    return [pid, ...children.flatMap(family)]
  } catch {
    return []
  }
}

function field(file: string, name: string): number {
  try {
    return Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(readFileSync(file, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}

function listens(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, host)
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}
