// Lets so many through at once; the others wait in the order they came.

/** A counting semaphore whose waiters can give up. */
export class Gate {
  readonly #limit: number
  readonly #waiting = new Set<() => void>()
  #inside = 0

  constructor({ limit }: { readonly limit: number }) {
    this.#limit = limit
  }

  /** Somebody is inside. */
  get busy(): boolean {
    return this.#inside > 0
  }

  /**
   * Waits for a turn.
   * @returns what ends it; calling it again does nothing
   * @throws the signal's reason, when it is aborted first
   */
  async enter(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    if (this.#inside < this.#limit) this.#inside += 1
    else await this.#turn(signal)
    let left = false
    return () => {
      if (left) return
      left = true
      this.#leave()
    }
  }

  /** The one who leaves hands its place to the next, so nobody who comes just then can slip in between. */
  #leave(): void {
    const [next] = this.#waiting
    if (next === undefined) {
      this.#inside -= 1
      return
    }
    this.#waiting.delete(next)
    next()
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const go = (): void => {
        signal.removeEventListener('abort', giveUp)
        resolve()
      }
      const giveUp = (): void => {
        this.#waiting.delete(go)
        reject(reasonOf(signal))
      }
      this.#waiting.add(go)
      signal.addEventListener('abort', giveUp, { once: true })
    })
  }
}

/** An abort reason may be anything; what is thrown is an Error. */
export function reasonOf(signal: AbortSignal): Error {
  const reason: unknown = signal.reason
  return reason instanceof Error ? reason : new Error('aborted', { cause: reason })
}
