// Clients that want everything at once and write down what they were promised.

import { request } from 'node:http'

import type { SyntheticCache, SyntheticEntry } from '../../support/synthetic-cache.ts'
import type { Program } from './program.ts'

/** PUTs a NAR and its narinfo; true when both were taken. Rejects when the connection breaks. */
export async function upload({ url }: Pick<Program, 'url'>, entry: SyntheticEntry): Promise<boolean> {
  const nar = await put(`${url}${entry.narPath}`, entry.file)
  return nar < 300 && (await put(`${url}${entry.narinfoPath}`, entry.narinfo)) < 300
}

function put(url: string, body: Uint8Array | string): Promise<number> {
  return new Promise((resolve, reject) => {
    const sending = request(url, {
      method: 'PUT',
      agent: false,
      headers: { 'content-length': Buffer.byteLength(body) },
    })
    sending.on('response', (response) => {
      response.resume()
      response.on('error', reject)
      response.on('end', () => resolve(response.statusCode ?? 0))
    })
    sending.on('error', reject)
    sending.end(body)
  })
}

export interface LoadOptions {
  readonly cache: SyntheticCache
  readonly entries: readonly SyntheticEntry[]
  /** A number from 0 to 1, by a seed that can be given again. */
  readonly random: () => number
  /** Bytes of a new NAR to be uploaded. */
  readonly content: () => Uint8Array
}

/** What the clients have seen of one program and of those before it. */
export class Load {
  /** What was on disk when somebody looked: answered to `only-if-cached`. */
  readonly committed = new Map<string, SyntheticEntry>()
  /** Uploads whose narinfo was taken. */
  readonly uploaded = new Map<string, SyntheticEntry>()
  /** Requests that were answered to the end. */
  answers = 0
  /** What came of NARs that were not what they should be. */
  readonly wrong: string[] = []
  readonly #options: LoadOptions

  constructor(options: LoadOptions) {
    this.#options = { ...options }
  }

  /**
   * So many clients ask and upload until the program is gone. Resolves after so many answers; `over` when it is gone and the last client
   * has noticed.
   */
  async begin(program: Program, clients: number, answers: number): Promise<{ readonly over: Promise<void> }> {
    let left = answers
    let reached = (): void => {}
    const enough = new Promise<void>((resolve) => (reached = resolve))
    const one = async (): Promise<void> => {
      while (!program.dead) {
        try {
          await (this.#options.random() < 0.15 ? this.#upload(program) : this.#read(program))
          this.answers++
          if (--left === 0) reached()
        } catch {
          // The connection broke; if that was not the kill, the next one tells.
          if (program.dead) return
        }
      }
    }
    const over = Promise.all(Array.from({ length: clients }, one)).then(() => {})
    await enough
    return { over }
  }

  /** Reads what was promised, from disk alone, in a program that has just started; the names of what is lost. */
  async lost(program: Program, promised: ReadonlyMap<string, SyntheticEntry>): Promise<readonly string[]> {
    const lost: string[] = []
    const left = promised.values()
    const one = async (): Promise<void> => {
      for (const entry of left) {
        const got = await program.nar(entry.hash, true)
        if (!got) lost.push(entry.baseName)
        else this.#compare(entry, got)
      }
    }
    await Promise.all(Array.from({ length: 6 }, one))
    return lost
  }

  async #read(program: Program): Promise<void> {
    const { entries, random } = this.#options
    const entry = entries[Math.floor(random() * entries.length)]
    if (!entry) return
    const got = await program.nar(entry.hash)
    if (got) this.#compare(entry, got)
    else this.wrong.push(`${entry.baseName}: not answered`)
    const held = await program.nar(entry.hash, true)
    if (!held) return
    this.#compare(entry, held)
    this.committed.set(entry.hash, entry)
  }

  async #upload(program: Program): Promise<void> {
    const { cache, content } = this.#options
    const entry = cache.add({ content: content(), name: 'uploaded' })
    cache.remove(entry.narinfoPath)
    cache.remove(entry.narPath)
    if (await upload(program, entry)) this.uploaded.set(entry.hash, entry)
    else this.wrong.push(`${entry.baseName}: upload refused`)
  }

  #compare(entry: SyntheticEntry, got: Buffer): void {
    if (!got.equals(entry.file))
      this.wrong.push(`${entry.baseName}: ${got.length} of ${entry.file.length} bytes, or others`)
  }
}

/** Numbers from 0 to 1 (mulberry32), the same for the same seed. */
export function randomBy(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** The seed that SUBSTRATA_SEED gives, else another each time; it is said, so that it can be given. */
export function seedOf(): number {
  const seed = Number(process.env['SUBSTRATA_SEED'] ?? Date.now() % 1_000_000)
  process.stdout.write(`seed ${seed}\n`)
  return seed
}
