// What is fuzzed: one target for each thing that strangers can write to us.

export interface Target {
  readonly name: string
  /** Good inputs, from which worse ones are made. The corpus adds to them. */
  readonly samples: readonly (string | Uint8Array)[]
  /** Pieces that mean something to the reader: they are put in everywhere. */
  readonly words: readonly string[]
  /** Makes what a run needs. */
  open(): Promise<Running>
}

export interface Running {
  /**
   * Throws when the target's property does not hold for this input. What it gives says in a few words what became of the input (`201`,
   * `no NarSize`): an input with a new word for it is mutated further.
   */
  check(input: Buffer): string | Promise<string>
  close(): Promise<void>
}

/** A target that needs nothing but itself. */
export function pure(target: Omit<Target, 'open'> & Pick<Running, 'check'>): Target {
  const { check, ...rest } = target
  return { ...rest, open: () => Promise.resolve({ check, close: () => Promise.resolve() }) }
}
