// docs/edge-cases.md and the tests say the same: every case has its row, and every test in a row names that case.

import { existsSync, readdirSync, readFileSync } from 'node:fs'

import { expect, test } from 'vitest'

const root = new URL('../../', import.meta.url)
const tests = new URL('test/', root)
const [first, last] = [1, 145]

interface Row {
  readonly number: number
  readonly does: string
  /** As the page has them: `store/fill`. */
  readonly files: readonly string[]
}

const rows = Array.from(
  readFileSync(new URL('docs/edge-cases.md', root), 'utf8').matchAll(
    /^\| *(\d+) *\| *(?:\S[^|]*?) *\| *(\S[^|]*?) *\| *(\S[^|]*?) *\|$/gm,
  ),
  ([, number, does = '', files = '']): Row => ({
    number: Number(number),
    does,
    files: Array.from(files.matchAll(/`([^`]+)`/g), ([, file = '']) => file),
  }),
)

const source = (file: string): URL => new URL(`${file}.test.ts`, tests)

/** The numbers behind every `case 7`, `cases 8, 9 and 10` and `cases 54 to 59` in the titles of a file. */
function casesOf(text: string): ReadonlySet<number> {
  const lists = text.matchAll(/\bcases? (\d+(?:(?:, | and |, and | to )\d+)*)/g)
  const numbers = Array.from(lists, ([, list = '']) => list.split(/, and | and |, /)).flat()
  return new Set(
    numbers.flatMap((part) => {
      const [from = 0, to = from] = part.split(' to ').map(Number)
      return Array.from({ length: to - from + 1 }, (_, n) => from + n)
    }),
  )
}

test('every case has one row, in order', () => {
  const all = Array.from({ length: last - first + 1 }, (_, n) => first + n)
  expect(rows.map(({ number }) => number)).toEqual(all)
})

test('every test in a row names its case, and a row without tests says why', () => {
  const wrong = rows.flatMap(({ number, does, files }) => {
    if (files.length === 0) return /^Not (built yet|offered)/.test(does) ? [] : [`case ${number} has no test`]
    return files
      .filter((file) => !existsSync(source(file)) || !casesOf(readFileSync(source(file), 'utf8')).has(number))
      .map((file) => `test/${file}.test.ts does not name case ${number}`)
  })
  expect(wrong).toEqual([])
})

test('what is said not to be there is not tested, and no test names a case that there is not', () => {
  const known = new Set(rows.filter(({ files }) => files.length > 0).map(({ number }) => number))
  const strange = readdirSync(tests, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts') && !file.startsWith('docs'))
    .flatMap((file) =>
      [...casesOf(readFileSync(new URL(file, tests), 'utf8'))]
        .filter((number) => !known.has(number))
        .map((number) => `test/${file} names case ${number}`),
    )
  expect(strange).toEqual([])
})
