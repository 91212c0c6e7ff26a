// Runs one target: first its corpus, then inputs made of it, until a number of them or a time is over, or one fails.

import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import * as fc from 'fast-check'

import { worse } from './mutate.ts'
import type { Running, Target } from './target.ts'

const corpus = join(import.meta.dirname, 'corpus')

/** Inputs drawn at a time; between two batches those that led to something new join the pool. */
const batch = 200
/** Inputs that are mutated further at most. */
const poolAtMost = 1000
/** Milliseconds in which a failing input is made smaller. */
const shrinkFor = 10_000
/** Milliseconds that one input may take. */
const patience = 30_000

export interface Limits {
  readonly seed: number
  /** Inputs besides the corpus. */
  readonly inputs?: number
  /** Milliseconds. */
  readonly time?: number
}

export interface Result {
  readonly inputs: number
  /** How many different things became of them. */
  readonly outcomes: number
  readonly failure: Failure | undefined
}

export interface Failure {
  readonly input: Buffer
  readonly error: unknown
}

export async function run(target: Target, limits: Limits): Promise<Result> {
  const running = await target.open()
  try {
    return await new Run(target, running).all(limits)
  } finally {
    await running.close()
  }
}

/** Keeps a failing input, so that every later run begins with it. Its path. */
export async function keep(target: string, input: Buffer): Promise<string> {
  const directory = join(corpus, target)
  await mkdir(directory, { recursive: true })
  const file = join(directory, createHash('sha256').update(input).digest('hex').slice(0, 16))
  await writeFile(file, input)
  return file
}

class Run {
  readonly #target: Target
  readonly #running: Running
  readonly #seen = new Set<string>()
  #pool: Buffer[] = []
  readonly #fresh: Buffer[] = []
  #inputs = 0
  #failure: Failure | undefined

  constructor(target: Target, running: Running) {
    this.#target = target
    this.#running = running
  }

  async all({ seed, inputs = Infinity, time = Infinity }: Limits): Promise<Result> {
    const end = performance.now() + time
    const known = [...this.#target.samples.map((one) => Buffer.from(one)), ...(await corpusOf(this.#target.name))]
    for (const input of known) {
      if (this.#failure) break
      await this.#check(input).catch((error: unknown) => (this.#failure = { input, error }))
    }
    this.#pool = known
    const drawn = inputs + this.#inputs
    for (let at = 0; !this.#failure && this.#inputs < drawn && performance.now() < end; at += 1) {
      await this.#batch(seed + at, Math.min(batch, drawn - this.#inputs), end - performance.now())
      this.#pool = [...this.#pool, ...this.#fresh.splice(0)].slice(0, poolAtMost)
    }
    return { inputs: this.#inputs, outcomes: this.#seen.size, failure: this.#failure }
  }

  /** Draws so many inputs, or fewer when the time is over; the first one that fails is made smaller. */
  async #batch(seed: number, numRuns: number, left: number): Promise<void> {
    let stop = performance.now() + left
    let first: Failure | undefined
    const property = fc.asyncProperty(worse(this.#pool, this.#target.words), async (input) => {
      if (performance.now() > stop) return
      try {
        await this.#check(input)
      } catch (error) {
        if (!first) stop = performance.now() + shrinkFor
        first ??= { input, error }
        throw error
      }
    })
    const { counterexample, errorInstance } = await fc.check(property, { seed, numRuns })
    if (!first) return
    const smallest = counterexample?.[0]
    this.#failure = smallest ? { input: smallest, error: errorInstance } : first
  }

  async #check(input: Buffer): Promise<void> {
    this.#inputs += 1
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${patience} ms`)), patience)
    })
    try {
      const outcome = await Promise.race([this.#running.check(Buffer.from(input)), late])
      if (this.#seen.has(outcome)) return
      this.#seen.add(outcome)
      if (this.#pool.length > 0) this.#fresh.push(input)
    } finally {
      clearTimeout(timer)
    }
  }
}

async function corpusOf(target: string): Promise<Buffer[]> {
  const directory = join(corpus, target)
  const names = await readdir(directory).catch((): string[] => [])
  return Promise.all(names.sort().map((name) => readFile(join(directory, name))))
}
