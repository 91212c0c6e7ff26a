// A progress bar of one line on a terminal; where there is none, nothing at all.

/** Milliseconds between two drawings: more often than this nobody can read. */
const interval = 100

export interface ProgressOptions {
  readonly write: (text: string) => void
  /** Columns of the terminal; undefined when there is none. */
  readonly columns: number | undefined
  /** Milliseconds by the monotonic clock. */
  readonly clock?: () => number
}

export class Progress {
  readonly #write: (text: string) => void
  readonly #columns: number | undefined
  readonly #clock: () => number
  #drawnAt = -Infinity

  constructor({ write, columns, clock = () => performance.now() }: ProgressOptions) {
    this.#write = write
    this.#columns = columns
    this.#clock = clock
  }

  /** Draws `[#####.....]  50 %  text`, `done` between 0 and 1. What does not fit into the line is left out. */
  show(done: number, text: string): void {
    if (this.#columns === undefined || this.#clock() - this.#drawnAt < interval) return
    this.#drawnAt = this.#clock()
    const share = Math.min(1, Math.max(0, done))
    const width = Math.min(30, Math.max(0, this.#columns - text.length - 12))
    const full = Math.floor(share * width)
    const bar = width < 5 ? '' : `[${'#'.repeat(full)}${'.'.repeat(width - full)}] `
    const line = `${bar}${String(Math.floor(share * 100)).padStart(3)} %  ${text}`
    // The last column stays free, else some terminals go on to the next line. \x1b[K clears what was there before.
    this.#write(`\r${line.slice(0, this.#columns - 1)}\x1b[K`)
  }

  /** Takes the bar away, so that what is printed next begins on an empty line. */
  clear(): void {
    if (this.#columns !== undefined && this.#drawnAt !== -Infinity) this.#write('\r\x1b[K')
  }
}
