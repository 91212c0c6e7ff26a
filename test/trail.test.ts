// The trail: the one record of a question.

import { expect, test } from 'vitest'

import { ProxyError } from '../src/errors.ts'
import { Trail } from '../src/trail.ts'

test('an entry is pending until it is settled, and says when', () => {
  const trail = new Trail()
  const entry = trail.ask('one', 'near')
  expect(entry.outcome).toEqual({ kind: 'pending' })
  expect(entry.answeredAt).toBeUndefined()
  trail.settle(entry, { kind: 'missed' })
  expect(entry.outcome).toEqual({ kind: 'missed' })
  expect(entry.answeredAt).toBeGreaterThanOrEqual(entry.askedAt)
})

test('a failure is written down with its code; being told to stop is none', () => {
  const trail = new Trail()
  const [failed, stopped] = [trail.ask('one', 'near'), trail.ask('two', 'near')]
  trail.fail(failed, new ProxyError('timeout', 'one: silent'))
  trail.fail(stopped, new ProxyError('aborted', 'two: another was faster'))
  expect(failed.outcome).toEqual({ kind: 'failed', code: 'timeout', why: 'one: silent' })
  expect(stopped.outcome).toEqual({ kind: 'pending' })
})

test('what another trail recorded is taken over, winner and all, and stays as it was', () => {
  const [shared, mine] = [new Trail(), new Trail()]
  shared.settle(shared.ask('one', 'near'), { kind: 'found', signedBy: 'key-1' })
  shared.winner = 'one'
  mine.ask('store', 'store')
  mine.adopt(shared)
  expect(mine.entries.map(({ who }) => who)).toEqual(['store', 'one'])
  expect(mine.winner).toBe('one')
  expect(shared.entries.length).toBe(1)
})
