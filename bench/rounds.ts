// Rounds: every contestant in turn, again and again, so that whatever the machine does meanwhile befalls all of them.

export type Turns = Readonly<Record<string, (round: number) => Promise<number>>>

/** The median of what each of them gave. */
export async function medians(rounds: number, turns: Turns): Promise<Record<string, number>> {
  const values: Record<string, number[]> = Object.fromEntries(Object.keys(turns).map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const [name, turn] of Object.entries(turns)) values[name]?.push(await turn(round))
  }
  return Object.fromEntries(Object.entries(values).map(([name, of]) => [name, median(of)]))
}

/** NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  if (sorted.length % 2 === 1) return sorted[middle] ?? Number.NaN
  return ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2
}
