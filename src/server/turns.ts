// How many send in one turn of the event loop. libuv accepts one connection a turn (uv__server_io): were a turn as long as it takes to
// serve two hundred downloads, the two hundred and first would wait for seconds before anybody had heard of him (measured: 2.9 s).

export class Turns {
  readonly #most: number
  #left: number
  #waiting: (() => void)[] = []
  #armed = false
  #hasNewcomer = false

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

  /** A connection has been accepted: more may be waiting to be, so the next turn is a short one. */
  newcomer(): void {
    this.#hasNewcomer = true
  }

  #arm(): void {
    if (this.#armed) return
    this.#armed = true
    setImmediate(() => this.#next())
  }

  #next(): void {
    this.#armed = false
    const most = this.#hasNewcomer ? 1 : this.#most
    this.#hasNewcomer = false
    const now = this.#waiting.splice(0, most)
    this.#left = most - now.length
    if (now.length > 0) this.#arm()
    for (const go of now) go()
  }
}

/** Those of this process, all servers together: chunks that bodies give to their sockets. Eight are a millisecond or two. */
export const turns = new Turns({ most: 8 })
