import { errors } from 'undici'
import { expect, test } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import { BadStatus, failureOf, wasHungUp } from '../../src/upstreams/failures.ts'

const coded = (code: string) => Object.assign(new Error(`what the system says of ${code}`), { code })

test.each([
  [coded('ECONNREFUSED'), 'unreachable', 'u: connection refused'],
  [coded('ENOTFOUND'), 'unreachable', 'u: its name is not known'],
  [coded('CERT_NOT_YET_VALID'), 'unreachable', "u: its certificate is not valid yet; is this machine's clock right?"],
  [coded('CERT_HAS_EXPIRED'), 'unreachable', "u: its certificate has expired, or this machine's clock is wrong"],
  [coded('DEPTH_ZERO_SELF_SIGNED_CERT'), 'unreachable', 'u: its certificate is self-signed'],
  [coded('EMFILE'), 'unreachable', 'u: what the system says of EMFILE'],
  [coded('ETIMEDOUT'), 'timeout', 'u: no connection in time'],
  [new errors.SocketError('other side closed'), 'unreachable', 'u: hung up'],
  [
    Object.assign(new errors.HTTPParserError('bad'), { code: 'HPE_INVALID_CONSTANT' }),
    'damaged',
    'u: does not speak HTTP (HPE_INVALID_CONSTANT)',
  ],
  [new errors.ClientDestroyedError(), 'aborted', 'u: no longer asked'],
  [new DOMException('x', 'AbortError'), 'aborted', 'u: no longer asked'],
  [new AggregateError([coded('ECONNREFUSED'), coded('ENETUNREACH')]), 'unreachable', 'u: connection refused'],
  ['a string', 'unreachable', 'u: a string'],
] as const)('case 100: %s is %s: %s', (thrown, code, sentence) => {
  const failure = failureOf('u', thrown)
  expect([failure.code, failure.message]).toEqual([code, sentence])
  expect(failure.cause).toBe(thrown)
})

test('a failure of ours keeps its code and learns who is meant, once', () => {
  const own = new ProxyError('timeout', 'no first byte')
  const told = failureOf('upstream a', own)
  expect([told.code, told.message]).toEqual(['timeout', 'upstream a: no first byte'])
  expect(failureOf('upstream a', told)).toBe(told)
})

test('a status is named', () => {
  expect(new BadStatus('upstream a', 503).message).toBe('upstream a: 503 Service Unavailable')
  expect(new BadStatus('upstream a', 799).message).toBe('upstream a: 799')
})

test('case 102: only a connection that ended under us is worth the same question again', () => {
  expect([coded('ECONNRESET'), coded('EPIPE'), new errors.SocketError('closed')].every(wasHungUp)).toBe(true)
  expect([coded('ECONNREFUSED'), coded('ENOTFOUND'), new Error('x'), 'x'].some(wasHungUp)).toBe(false)
})
