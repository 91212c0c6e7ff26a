// What is wrong with a configuration, one line a mistake: the file, the path of the key, and what was probably meant.

import type { z } from 'zod'

type Issue = z.core.$ZodIssue
type RawIssue = z.core.$ZodRawIssue

/**
 * One line for each mistake, like a compiler's: `config.toml: strata[1].hedge: 150 has no unit; write "150s" or "150ms"`.
 */
export function complaints(file: string, issues: readonly Issue[]): string {
  return issues.flatMap((issue) => lines(issue).map(([path, text]) => complaint(file, path, text))).join('\n')
}

/** One complaint: `config.toml: trust.keys[1]: …`; an empty path speaks of the file as a whole. */
export function complaint(file: string, path: readonly PropertyKey[], text: string): string {
  return path.length === 0 ? `${file}: ${text}` : `${file}: ${keyPath(path)}: ${text}`
}

/** A key's path as the file's author thinks of it: `strata[1].upstreams[0].url`. Odd keys stand in quotes, as TOML wants them. */
function keyPath(path: readonly PropertyKey[]): string {
  let text = ''
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`
    else {
      const key = String(step)
      text += `${text === '' ? '' : '.'}${/^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key)}`
    }
  }
  return text
}

/** A table with unknown keys is one issue of zod's with one message: here it becomes a line for each key. */
function lines(issue: Issue): (readonly [path: readonly PropertyKey[], text: string])[] {
  if (issue.code !== 'unrecognized_keys') return [[issue.path, issue.message]]
  const texts = issue.message.split('\n')
  return issue.keys.map((key, i) => [[...issue.path, key], texts[i] ?? 'is not a key of this table'])
}

/**
 * The message for unknown keys in a table: a line for each, in the order of `keys`. `tables` holds the keys of the other tables, so
 * that a right key in a wrong place is sent home.
 */
export function unknownKeys(keys: readonly string[], known: readonly string[], tables: Tables): string {
  return keys
    .map((key) => {
      const near = nearest(key, known)
      if (near !== undefined) return `there is no such key; did you mean ${near}?`
      const home = Object.entries(tables).find(([, keysThere]) => keysThere.includes(key))
      return home === undefined ? `there is no such key; here may stand ${known.join(', ')}` : `belongs into ${home[0]}`
    })
    .join('\n')
}

/** The header of each table, as it is written in the file, and the keys of it. */
export type Tables = Readonly<Record<string, readonly string[]>>

/** Says what zod found wrong in the words of somebody who writes TOML; undefined leaves it to zod's own. */
export function describe(issue: RawIssue): string | undefined {
  const { code, input } = issue
  if (code === 'invalid_type') {
    if (input === undefined) return 'is missing'
    if (issue.expected === 'array' && typeof input === 'object')
      return 'is a list of tables: write [[ ]] around its name'
    return `expected ${words[issue.expected] ?? issue.expected}, found ${shown(input)}`
  }
  if (code === 'invalid_value') {
    const values = issue.values.map(String)
    const near = typeof input === 'string' ? nearest(input, values) : undefined
    const allowed = values.map((value) => JSON.stringify(value)).join(' or ')
    return `${shown(input)} is not ${allowed}${near === undefined ? '' : `; did you mean "${near}"?`}`
  }
  if (code === 'too_small') return `${shown(input)} is too small: at least ${issue.minimum}`
  if (code === 'too_big') return `${shown(input)} is too large: at most ${issue.maximum}`
  return undefined
}

const words: Readonly<Record<string, string>> = {
  string: 'a text in quotes',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list in [ ]',
  object: 'a table',
}

function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  const text = typeof value === 'object' && value !== null && !Array.isArray(value) ? 'a table' : JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 57)}…` : text
}

/** The word that was probably meant, when one is near: a third of its letters may be wrong, at least one. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const plain = word.toLowerCase().replaceAll('-', '_')
  const limit = Math.max(1, Math.floor(word.length / 3))
  let best: string | undefined
  let least = limit + 1
  for (const candidate of known) {
    const distance = editDistance(plain, candidate.toLowerCase().replaceAll('-', '_'))
    if (distance < least) [best, least] = [candidate, distance]
  }
  return best
}

/** Levenshtein's distance: insertions, deletions and replacements that turn one word into the other. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, replaced))
    }
    row = next
  }
  return row[b.length] ?? 0
}
