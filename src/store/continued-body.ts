// A body that goes on elsewhere when what it comes from gives out: once.

export interface ContinuedBodyOptions {
  readonly first: AsyncIterable<Uint8Array>
  /** What follows after so many bytes of the first, which threw `error`. Where it throws, so does the iteration. */
  readonly rest: (position: number, error: unknown) => Promise<AsyncIterable<Uint8Array>>
}

/** Not a generator: those that were never begun do not pass `return` on, and a file would stay open. */
export class ContinuedBody implements AsyncIterableIterator<Uint8Array> {
  readonly #rest: ContinuedBodyOptions['rest']
  #current: AsyncIterator<Uint8Array>
  #position = 0
  #continued = false
  #over = false

  constructor({ first, rest }: ContinuedBodyOptions) {
    this.#rest = rest
    this.#current = first[Symbol.asyncIterator]()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    try {
      const step = await this.#current.next()
      if (step.done === true) return { done: true, value: undefined }
      this.#position += step.value.length
      return step
    } catch (error) {
      if (this.#continued || this.#over) throw error
      this.#continued = true
      const rest = await this.#rest(this.#position, error)
      this.#current = rest[Symbol.asyncIterator]()
      // It may have been ended while somebody was being asked.
      if (this.#isOver()) return this.return()
      return this.next()
    }
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    this.#over = true
    await this.#current.return?.()
    return { done: true, value: undefined }
  }

  #isOver(): boolean {
    return this.#over
  }
}
