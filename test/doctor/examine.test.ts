// Promise: one check that fails, or never ends, takes nothing from the others.

import { expect, test } from 'vitest'

import { examine, type Check } from '../../src/doctor/examine.ts'
import type { FindingLevel } from '../../src/doctor/finding.ts'

const finding = (level: FindingLevel, about: string): Check => ({
  about,
  run: () => Promise.resolve([{ level, about, says: 'is so' }]),
})
const never: Check = { about: 'deaf', run: () => new Promise(() => {}) }
const forever = new AbortController().signal

test('the worst comes first, else the order of the checks holds', async () => {
  const checks = [
    finding('ok', 'a'),
    finding('note', 'b'),
    finding('problem', 'c'),
    finding('warning', 'd'),
    finding('ok', 'e'),
  ]
  const found = await examine(checks, 1000, forever)
  expect(found.map(({ about }) => about)).toEqual(['c', 'd', 'b', 'a', 'e'])
})

test('what could not be checked is a finding', async () => {
  const failing: Check = { about: 'sick', run: () => Promise.reject(new Error('no such thing')) }
  expect(await examine([failing, never, finding('ok', 'a')], 20, forever)).toEqual([
    { level: 'warning', about: 'sick', says: 'could not be checked: no such thing' },
    { level: 'warning', about: 'deaf', says: 'could not be checked: not found out within 20 ms' },
    { level: 'ok', about: 'a', says: 'is so' },
  ])
})

test('who stops it does not wait', async () => {
  const stopping = new AbortController()
  const examined = examine([never], 60_000, stopping.signal)
  stopping.abort(new Error('stopped'))
  await expect(examined).rejects.toThrow('stopped')
})
