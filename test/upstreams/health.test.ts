import { expect, test } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import { createLog } from '../../src/log.ts'
import { Health } from '../../src/upstreams/health.ts'

const down = new ProxyError('unreachable', 'upstream a: connection refused')
const slow = new ProxyError('timeout', 'upstream a: no first byte')
const broken = new ProxyError('bad-status', 'upstream a: 500 Internal Server Error')

function patient(random = () => 1) {
  let now = 0
  const lines: string[] = []
  const opened: number[] = []
  const log = createLog({ level: 'debug', format: 'text', write: (line) => lines.push(line.slice(25).trimEnd()) })
  const health = new Health({ who: 'upstream a', clock: () => now, random, log, opened: () => opened.push(now) })
  const trip = (failure = down) => [1, 2, 3].forEach(() => health.failed(failure))
  return { health, lines, opened, trip, pass: (ms: number) => (now += ms) }
}

test('case 95: three failures in a row open the circuit', () => {
  const { health, opened } = patient()
  health.failed(down)
  health.failed(down)
  expect(health.refusal()).toBeUndefined()
  health.failed(broken)
  expect([health.state, health.refusal(), health.failuresInARow]).toEqual(['open', 'circuit open', 3])
  expect(health.lastFailure).toBe(broken)
  expect(opened).toHaveLength(1)
})

test('an answer in between starts the count anew', () => {
  const { health } = patient()
  for (let n = 0; n < 10; n += 1) {
    health.failed(down)
    health.failed(down)
    health.succeeded()
  }
  expect(health.state).toBe('ok')
})

test('case 93: one refusal of our credentials is enough', () => {
  const { health } = patient()
  health.failed(new ProxyError('bad-status', 'upstream a: 401 Unauthorized'), true)
  expect(health.state).toBe('open')
})

test('case 95: nobody asks while it is probed, and a good probe closes the circuit', () => {
  const { health, trip } = patient()
  trip()
  health.probing()
  expect([health.state, health.refusal()]).toEqual(['probing', 'circuit open'])
  health.probeSucceeded()
  expect([health.state, health.refusal()]).toEqual(['ok', undefined])
})

test('case 106: after a good probe the first failure opens it again, and the back-off goes on doubling', () => {
  const { health, trip } = patient()
  trip(broken)
  expect(health.backoff()).toBe(1000)
  health.probing()
  health.probeSucceeded()
  health.failed(broken)
  expect([health.state, health.backoff()]).toEqual(['open', 2000])
})

test('case 106: only a real answer is trusted: after it, three failures are needed, and the back-off is short', () => {
  const { health, trip } = patient()
  trip(broken)
  health.probing()
  health.probeFailed(broken)
  health.probing()
  health.probeSucceeded()
  health.succeeded()
  health.failed(broken)
  health.failed(broken)
  expect(health.state).toBe('ok')
  health.failed(broken)
  expect([health.state, health.backoff()]).toEqual(['open', 1000])
})

test('the back-off doubles up to a minute', () => {
  const { health, trip } = patient()
  trip(broken)
  const delays: number[] = []
  for (let n = 0; n < 8; n += 1) {
    delays.push(health.backoff())
    health.probing()
    health.probeFailed(broken)
  }
  expect(delays).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000])
})

test.each([down, slow])('a link that may be back any second is tried every five seconds: %s', (failure) => {
  const { health, trip } = patient()
  trip(failure)
  for (let n = 0; n < 20; n += 1) {
    health.probing()
    health.probeFailed(failure)
  }
  expect(health.backoff()).toBe(5000)
})

test('the back-off has jitter', () => {
  const { health, trip } = patient(() => 0)
  trip()
  expect(health.backoff()).toBe(500)
})

test('an answer to a question that was under way closes the circuit, and a probe that comes later is none', () => {
  const { health, trip } = patient()
  trip()
  health.succeeded()
  expect(health.state).toBe('ok')
  health.probing()
  expect(health.state).toBe('ok')
  health.probeFailed(down)
  expect(health.state).toBe('ok')
})

test('case 94: it is left alone for as long as it asked', () => {
  const { health, pass } = patient()
  health.coolDown(7000, new ProxyError('bad-status', 'upstream a: 429 Too Many Requests'))
  expect([health.state, health.refusal()]).toEqual(['cooldown', 'cooling down for 7 s'])
  pass(6999)
  expect(health.state).toBe('cooldown')
  pass(1)
  expect([health.state, health.refusal()]).toEqual(['ok', undefined])
})

test('case 94: cooling down does not close an open circuit', () => {
  const { health, trip, pass } = patient()
  trip()
  health.coolDown(1000, broken)
  pass(2000)
  expect(health.state).toBe('open')
})

test('case 2: an upstream for another store is not asked until it says otherwise', () => {
  const { health, lines } = patient()
  health.disable('is for /other/store')
  health.disable('is for /other/store')
  expect([health.state, health.refusal(), health.disabledFor]).toEqual([
    'disabled',
    'is for /other/store',
    'is for /other/store',
  ])
  health.disable(undefined)
  expect([health.state, health.disabledFor]).toEqual(['ok', undefined])
  expect(lines).toEqual(['warn  upstream a: is for /other/store; it is not asked'])
})

test('the latency follows the answers, the newest counting most', () => {
  const { health } = patient()
  expect(health.latency).toBeUndefined()
  health.succeeded(100)
  expect(health.latency).toBe(100)
  health.succeeded(200)
  expect(health.latency).toBe(120)
  health.succeeded()
  expect(health.latency).toBe(120)
})

test('trouble is logged once, and its end once, however often it flaps', () => {
  const { health, lines, trip } = patient()
  trip()
  for (let n = 0; n < 5; n += 1) {
    health.probing()
    health.probeFailed(down)
    health.probing()
    health.probeSucceeded()
    health.failed(down)
  }
  health.probing()
  health.probeSucceeded()
  health.succeeded()
  expect(lines).toEqual([
    'warn  upstream a: connection refused; not asked until it answers again',
    'info  upstream a: is back',
  ])
  trip()
  health.succeeded()
  expect(lines.slice(2)).toEqual([
    'warn  upstream a: connection refused; not asked until it answers again',
    'info  upstream a: is back',
  ])
})
