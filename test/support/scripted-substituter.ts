// A Substituter without a network that does what a test says, path by path, and tells what it was asked.
//
//   const near = new ScriptedSubstituter('near')
//   near.on(hello.hash, hello)                          it has this entry of a SyntheticCache; what is not scripted is a miss
//   near.on(other.hash, new ProxyError('timeout', …))   it fails; a function is called anew for each question
//   near.on(third.hash, 'never')                        it says nothing until it is told to stop
//   await near.seen(third.hash); await near.stopped(third.hash)

import { ProxyError } from '../../src/errors.ts'
import { narIdentity, sameNar } from '../../src/nix/nar-url.ts'
import { parseNarInfo } from '../../src/nix/narinfo.ts'
import type { StoreHash } from '../../src/nix/store-path.ts'
import type { Asking, ByteRange, Nar, Substitute, Wanted } from '../../src/substituter.ts'
import { Trail } from '../../src/trail.ts'
import type { PeerUpstream } from '../../src/upstreams/peers.ts'
import type { Resource } from '../../src/upstreams/resources.ts'
import type { SyntheticEntry } from './synthetic-cache.ts'

/** What is answered: an entry, a miss (undefined), a failure (thrown), or nothing at all. */
export type Answer = SyntheticEntry | undefined | Error | 'never'
export type Script = Answer | (() => Answer | Promise<Answer>)

export interface Asked {
  readonly wanted: Wanted
  readonly asking: Asking
}

/** A question of a client: signal, trail, loop and whom to avoid can be given. */
export function question(parts: Partial<Asking> = {}): Asking {
  return { signal: new AbortController().signal, trail: new Trail(), loop: [], ...parts }
}

export class ScriptedSubstituter implements PeerUpstream {
  readonly name: string
  readonly stratum: string
  /** Every question that reached it, in order. */
  readonly asked: Asked[] = []
  /** NARs opened so far. */
  opened = 0
  started = 0
  ended = 0
  readonly #scripts = new Map<string, Script>()
  readonly #resources = new Map<string, () => Promise<Resource | undefined>>()
  readonly #stopped: string[] = []
  readonly #watchers = new Set<() => void>()

  constructor(name: string, stratum = 'test') {
    this.name = name
    this.stratum = stratum
  }

  on(hash: StoreHash, script: Script): this {
    this.#scripts.set(hash, script)
    return this
  }

  /** Scripts a path other than a narinfo's. */
  onResource(path: string, script: () => Promise<Resource | undefined>): this {
    this.#resources.set(path, script)
    return this
  }

  count(what: string): number {
    return this.asked.filter(({ wanted }) => wanted.hash === what).length
  }

  /** Fulfilled when it has been asked so many times for this hash. */
  seen(hash: StoreHash, times = 1): Promise<void> {
    return this.#when(() => this.count(hash) >= times)
  }

  /** Fulfilled when it has been told to stop looking for this hash. */
  stopped(hash: StoreHash): Promise<void> {
    return this.#when(() => this.#stopped.includes(hash))
  }

  async find(wanted: Wanted, asking: Asking): Promise<Substitute | undefined> {
    const { trail, signal, avoid } = asking
    const entry = trail.ask(this.name, this.stratum)
    if (avoid?.has(this.name)) {
      trail.settle(entry, { kind: 'skipped', why: 'it has just failed' })
      return undefined
    }
    signal.addEventListener('abort', () => this.#note(wanted.hash), { once: true })
    this.asked.push({ wanted, asking })
    this.#changed()
    try {
      const answer = await this.#answer(this.#scripts.get(wanted.hash), signal)
      const found = answer && this.#substitute(answer)
      if (!found) trail.settle(entry, { kind: 'missed' })
      else if (wanted.nar && !sameNar(wanted.nar, narIdentity(found.narinfo))) {
        trail.settle(entry, { kind: 'refused', why: 'other bytes' })
        return undefined
      } else trail.settle(entry, { kind: 'found', signedBy: found.signedBy })
      return found
    } catch (error) {
      trail.fail(entry, error)
      throw error
    }
  }

  async get(path: string, { signal }: Asking): Promise<Resource | undefined> {
    signal.throwIfAborted()
    return this.#resources.get(path)?.()
  }

  start(): void {
    this.started += 1
  }

  async stop(): Promise<void> {
    this.ended += 1
  }

  async #answer(script: Script, signal: AbortSignal): Promise<SyntheticEntry | undefined> {
    if (signal.aborted) throw gone(this.name)
    const answer = await Promise.race([typeof script === 'function' ? script() : script, stopped(this.name, signal)])
    if (answer === 'never') return stopped(this.name, signal)
    if (answer instanceof Error) throw answer
    return answer
  }

  #substitute(entry: SyntheticEntry): Substitute {
    return {
      narinfo: parseNarInfo(entry.narinfo, '/nix/store'),
      from: this.name,
      signedBy: 'cache.test-1',
      peer: false,
      open: async (range, signal) => this.#open(entry.file, range, signal),
    }
  }

  #open(file: Uint8Array, range: ByteRange | undefined, signal: AbortSignal): Nar {
    if (signal.aborted) throw gone(this.name)
    const { start, end = file.length - 1 } = range ?? { start: 0 }
    if (start >= file.length) throw new ProxyError('bad-range', `${this.name}: ${start} is past the end`)
    this.opened += 1
    return { size: file.length, body: inPieces(this.name, file.subarray(start, end + 1), signal) }
  }

  #note(hash: string): void {
    this.#stopped.push(hash)
    this.#changed()
  }

  #when(holds: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!holds()) return
        this.#watchers.delete(look)
        resolve()
      }
      this.#watchers.add(look)
      look()
    })
  }

  #changed(): void {
    for (const look of this.#watchers) look()
  }
}

async function* inPieces(who: string, bytes: Uint8Array, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 16_384) {
    if (signal.aborted) throw gone(who)
    yield bytes.subarray(at, at + 16_384)
  }
}

function stopped(who: string, signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(gone(who)), { once: true })
  })
}

function gone(who: string): ProxyError {
  return new ProxyError('aborted', `${who}: told to stop`)
}
