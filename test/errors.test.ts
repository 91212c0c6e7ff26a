// Errors: one exception with a code, and a word for what others throw.

import { expect, test } from 'vitest'

import { codeOf, messageOf, ProxyError } from '../src/errors.ts'

test('what the platform throws has a code too, and the unknown has none', () => {
  expect(codeOf(new ProxyError('gone', 'x'))).toBe('gone')
  expect(codeOf(AbortSignal.abort().reason)).toBe('aborted')
  expect(codeOf(new DOMException('late', 'TimeoutError'))).toBe('timeout')
  expect(codeOf(new Error('bug'))).toBeUndefined()
  expect(codeOf('text')).toBeUndefined()
})

test('a message is a text, whatever was thrown', () => {
  expect(messageOf(new Error('a'))).toBe('a')
  expect(messageOf(7)).toBe('7')
})
