// What was measured, as a table for people and as JSON for programs.

import { cpus, totalmem } from 'node:os'

import { isKept, type Figure } from './measure.ts'

export interface Result extends Figure {
  readonly number: number
}

/** A Markdown table. */
export function table(results: readonly Result[]): string {
  const rows = results.map(({ number, what, unit, values, promise }) => [
    String(number),
    what,
    Object.entries(values)
      .map(([name, value]) => `${name} ${figure(value)}`)
      .join(', ') + (unit === '' ? '' : ` ${unit}`),
    promise ? `${promise.of} = **${figure(promise.value)}**${unitOf(promise.unit)}` : '',
    promise ? `${promise.sense === 'at least' ? '≥' : '≤'} ${figure(promise.limit)}${unitOf(promise.unit)}` : '',
    promise ? (isKept(promise) ? 'yes' : 'NO') : '',
  ])
  const all = [['#', 'measure', 'medians', 'compared', 'must reach', 'does it'], ...rows]
  const widths = all[0]?.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0))) ?? []
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`
  const [head = [], ...body] = all
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...body.map(line)].join('\n')
}

/** The machine in one line. */
export function machine(): string {
  const [first] = cpus()
  return `${cpus().length} cores (${first?.model.trim() ?? 'unknown'}), ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`
}

function unitOf(unit = ''): string {
  return unit === '' ? '' : ` ${unit}`
}

/** Three digits that say something. */
function figure(value: number): string {
  if (!Number.isFinite(value)) return String(value)
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en')
  return String(Number(value.toPrecision(3)))
}
