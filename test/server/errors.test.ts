import { expect, test } from 'vitest'

import { ProxyError, type ErrorCode } from '../../src/errors.ts'
import { refusalOf, uploadRefusalOf } from '../../src/server/errors.ts'

const codes: readonly ErrorCode[] = [
  'bad-request',
  'bad-range',
  'forbidden',
  'bad-config',
  'bad-narinfo',
  'untrusted',
  'unreachable',
  'timeout',
  'bad-status',
  'bad-address',
  'damaged',
  'gone',
  'store-full',
  'store-failed',
  'overloaded',
  'aborted',
]

test.each(codes)('%s is never told with a status that clients take for something else', (code) => {
  expect([400, 404, 416, 500, 502, 504]).toContain(refusalOf(new ProxyError(code, 'x')).status)
})

test('a NAR that is gone need not be tried again, one that cannot be had now may', () => {
  expect(refusalOf(new ProxyError('gone', 'x')).status).toBe(404)
  expect(refusalOf(new ProxyError('unreachable', 'x')).status).toBe(502)
  expect(refusalOf(new ProxyError('timeout', 'x')).status).toBe(504)
})

test('who asks is not told what is inside', () => {
  const error = new ProxyError('store-failed', 'store: /var/lib/substrata: EIO', { cause: new Error('secret') })
  expect(refusalOf(error).says).not.toMatch(/var|EIO|secret/)
  expect(refusalOf(new TypeError('undefined is not a function'))).toEqual({ status: 500, says: 'internal error' })
  expect(uploadRefusalOf(error).says).not.toMatch(/var|EIO|secret/)
})

test('who uploads is told what is wrong with the upload', () => {
  expect(uploadRefusalOf(new ProxyError('bad-narinfo', 'narinfo: no NarHash'))).toEqual({
    status: 400,
    says: 'not a usable narinfo: narinfo: no NarHash',
  })
})
