// How many send in one turn of the event loop. libuv accepts one connection a turn (uv__server_io): were a turn as long as it takes to
// serve two hundred downloads, the two hundred and first would wait for seconds before anybody had heard of him (measured: 2.9 s).

export class Turns {
  readonly #most: number
  #left: number
  #waiting: (() => void)[] = []
  #armed = false

  /** @param options.most who may have a go in one turn */
  constructor({ most }: { readonly most: number }) {
    this.#most = most
    this.#left = most
  }

  /** Calls `go`: now, or in a later turn, in the order they came. */
  take(go: () => void): void {
    this.#arm()
    if (this.#left === 0) {
      this.#waiting.push(go)
      return
    }
    this.#left -= 1
    go()
  }

  #arm(): void {
    if (this.#armed) return
    this.#armed = true
    setImmediate(() => this.#next())
  }

  #next(): void {
    this.#armed = false
    const now = this.#waiting.splice(0, this.#most)
    this.#left = this.#most - now.length
    if (now.length > 0) this.#arm()
    for (const go of now) go()
  }
}
