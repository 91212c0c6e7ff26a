// Sizes and durations as people write them (`"5GiB"`, `"150ms"`), and the way back for what the commands print.

import { ProxyError } from './errors.ts'

const milliseconds: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** Decimal and binary units are told apart as disk makers and kernels do: 5GB is 5 000 000 000 bytes, 5GiB is 5 368 709 120. */
const bytes: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
}

/** Timers of Node hold 31 bits of milliseconds (24.8 days); nothing here waits for longer than a day. */
const longest = 24 * 3_600_000

/**
 * Milliseconds of a duration: `"150ms"`, `"8s"`, `"10m"`, `"2h"`, `"1.5s"`. Throws a ProxyError `bad-config` whose message goes on
 * after the key's name: `8 has no unit; write "8s" or "8ms"`.
 */
export function parseDuration(value: unknown): number {
  const example = 'a duration is written like "150ms", "8s", "10m" or "2h"'
  const { amount, unit, shown } = amountAndUnit(value, example, ['s', 'ms'])
  const factor = milliseconds[unit]
  if (factor === undefined) throw new ProxyError('bad-config', `${shown} has an unknown unit "${unit}"; ${example}`)
  const duration = Math.round(amount * factor)
  if (duration > longest) throw new ProxyError('bad-config', `${shown} is longer than a day (24h)`)
  return duration
}

/**
 * Bytes of a size: `"200GiB"`, `"5GB"`, `"1.5TiB"`. Throws a ProxyError `bad-config` whose message goes on after the key's name:
 * `200 has no unit; write "200GiB" or "200MB"`.
 */
export function parseSize(value: unknown): number {
  const example = 'a size is written like "200GiB", "5GB" or "10MB"'
  const { amount, unit, shown } = amountAndUnit(value, example, ['GiB', 'MB'])
  const factor = bytes[unit]
  if (factor === undefined) {
    // `200G` and `200gb` are the usual slips: say what was probably meant, and do not guess between GB and GiB.
    const letter = unit.charAt(0).toUpperCase()
    const meant =
      'KMGT'.includes(letter) && letter !== '' ? `write "${amount}${letter}iB" or "${amount}${letter}B"` : example
    throw new ProxyError('bad-config', `${shown} has an unknown unit "${unit}"; ${meant}`)
  }
  const size = Math.round(amount * factor)
  if (!Number.isSafeInteger(size)) throw new ProxyError('bad-config', `${shown} is larger than any disk`)
  return size
}

function amountAndUnit(value: unknown, example: string, units: readonly [string, string]): AmountAndUnit {
  if (value === undefined) throw new ProxyError('bad-config', `is missing; ${example}`)
  const bare = typeof value === 'number' || (typeof value === 'string' && /^\d+(\.\d+)?$/.test(value.trim()))
  if (bare) {
    const amount = String(value).trim()
    throw new ProxyError(
      'bad-config',
      `${amount} has no unit; write ${units.map((unit) => `"${amount}${unit}"`).join(' or ')}`,
    )
  }
  const match = typeof value === 'string' ? /^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*$/.exec(value) : null
  const [, amount, unit] = match ?? []
  if (amount === undefined || unit === undefined)
    throw new ProxyError('bad-config', `${JSON.stringify(value)} is not understood; ${example}`)
  return { amount: Number(amount), unit, shown: JSON.stringify(value) }
}

interface AmountAndUnit {
  readonly amount: number
  readonly unit: string
  readonly shown: string
}

/** A size for people, three figures: `0 B`, `812 B`, `1.50 GiB`, `24.1 MiB`. */
export function printSize(size: number): string {
  let amount = size
  let unit = 'B'
  for (const next of ['KiB', 'MiB', 'GiB', 'TiB']) {
    // Three figures: 1023.6 would be printed as "1024", which is the next unit's 1.00.
    if (amount < 999.5) break
    amount /= 1024
    unit = next
  }
  return unit === 'B' ? `${amount} B` : `${amount.toPrecision(3)} ${unit}`
}

/** A duration for people, exact: `150ms`, `8s`, `10m`, `1500ms`. What it prints, parseDuration reads back. */
export function printDuration(duration: number): string {
  for (const unit of ['h', 'm', 's']) {
    const factor = milliseconds[unit] ?? 1
    if (duration >= factor && duration % factor === 0) return `${duration / factor}${unit}`
  }
  return `${duration}ms`
}
