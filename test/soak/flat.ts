// Whether a figure stays: the line of least squares through its samples.

/** How much a series rises from its first sample to its last, by the line of least squares through it. */
export function rise(values: readonly number[]): number {
  const middle = (values.length - 1) / 2
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  let [above, below] = [0, 0]
  for (const [at, value] of values.entries()) {
    above += (at - middle) * (value - mean)
    below += (at - middle) ** 2
  }
  return below === 0 ? 0 : (above / below) * (values.length - 1)
}

/** The last two thirds: what comes before is a program that gets warm. */
export function settled<T>(samples: readonly T[]): readonly T[] {
  return samples.slice(Math.floor(samples.length / 3))
}
