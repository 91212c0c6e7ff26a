// Promise: a terminal gets one line that never wraps; a pipe gets nothing.

import { expect, test } from 'vitest'

import { Progress } from '../../src/cli/progress.ts'

function progress(columns: number | undefined) {
  let now = 0
  const written: string[] = []
  const bar = new Progress({ write: (text) => void written.push(text), columns, clock: () => now })
  return { bar, written, later: () => (now += 1000) }
}

test('nothing is written where there is no terminal', () => {
  const { bar, written } = progress(undefined)
  bar.show(0.5, 'half')
  bar.clear()
  expect(written).toEqual([])
})

test('the bar grows, and goes away', () => {
  const { bar, written, later } = progress(80)
  for (const [done, text] of [
    [0, 'none'],
    [0.5, 'half'],
    [1, 'all'],
  ] as const) {
    bar.show(done, text)
    later()
  }
  bar.clear()
  expect(written).toEqual([
    `\r[${'.'.repeat(30)}]   0 %  none\x1b[K`,
    `\r[${'#'.repeat(15)}${'.'.repeat(15)}]  50 %  half\x1b[K`,
    `\r[${'#'.repeat(30)}] 100 %  all\x1b[K`,
    '\r\x1b[K',
  ])
})

test.each([1, 10, 20, 30, 60])('a line of %d columns is enough', (columns) => {
  const { bar, written } = progress(columns)
  bar.show(7, 'a rather long text about what is being done')
  // oxlint-disable-next-line no-control-regex -- it is what clears the line
  expect(written[0]?.replace(/^\r|\x1b\[K$/g, '').length).toBeLessThan(columns)
})

test('it is not drawn more often than can be read', () => {
  const { bar, written, later } = progress(80)
  bar.show(0.1, '')
  bar.show(0.2, '')
  expect(written).toHaveLength(1)
  later()
  bar.show(0.3, '')
  expect(written).toHaveLength(2)
})
