// Promise: how a cache answers is told from how a login page, a wrong place or another store answers.

import { expect, test } from 'vitest'

import { judgeAbsence, judgeVisit } from '../../src/doctor/caches.ts'
import { failureOf } from '../../src/upstreams/failures.ts'

const info = 'StoreDir: /nix/store\nWantMassQuery: 1\n'

function judged(status: number, text = info, headers: Record<string, string> = {}, storeDir = '/nix/store') {
  const url = new URL('http://cache.test/base/')
  return judgeVisit('upstream c', { url, status, headers, text, ms: 4.2, at: 0 }, storeDir)
}

test('a cache that is well is well', () => {
  expect(judged(200)).toEqual({ level: 'ok', about: 'upstream c', says: 'answers in 4 ms' })
})

test.each([
  [200, '<html>log in</html>', {}, 'problem', 'a web page instead of nix-cache-info'],
  [200, '', { 'content-type': 'text/html; charset=utf-8' }, 'problem', 'a web page instead of nix-cache-info'],
  [
    302,
    '',
    { location: 'http://portal.hotel/login' },
    'problem',
    'to another host, portal.hotel; perhaps a captive portal',
  ],
  [307, '', {}, 'problem', 'without saying where (307)'],
  [511, '', {}, 'problem', 'a captive portal is in front of it'],
  [
    301,
    '',
    { location: '/nix/nix-cache-info' },
    'note',
    'another place of its own, http://cache.test/nix/nix-cache-info',
  ],
  [401, '', {}, 'problem', 'it does not let us in: 401 Unauthorized'],
  [403, '', {}, 'warning', 'it does not let us in: 403 Forbidden'],
  [
    404,
    '<html>not found</html>',
    { 'content-type': 'text/html' },
    'warning',
    'it has no nix-cache-info: 404 Not Found',
  ],
  [503, '', {}, 'problem', 'it fails: 503 Service Unavailable'],
  [200, 'hello', {}, 'warning', 'names no store directory'],
  [200, 'StoreDir: /gnu/store\n', {}, 'problem', 'it is for /gnu/store, and we are for /nix/store; it is never asked'],
] as const)('status %i with %j and %j is a %s', (status, text, headers, level, says) => {
  const finding = judged(status, text, headers)
  expect(finding).toMatchObject({ level, about: 'upstream c' })
  expect(finding.says).toContain(says)
  expect(finding.do).toMatch(/^[A-Z].*[^.]$/)
})

test('a store directory of our own is right where it is ours', () => {
  expect(judged(200, 'StoreDir: /gnu/store\n', {}, '/gnu/store').level).toBe('ok')
})

test('a certificate that is not its own is taken for a portal’s, as the proxy does; any other failure for absence', () => {
  const url = new URL('https://cache.test/base/')
  const failed = (code: string) => failureOf('upstream c', Object.assign(new Error(code), { code }))
  const strange = judgeAbsence('upstream c', failed('ERR_TLS_CERT_ALTNAME_INVALID'), { url, roaming: false })
  expect(strange).toMatchObject({ level: 'problem', about: 'upstream c' })
  expect(strange.says).toContain('its certificate is for another name; perhaps a captive portal')
  expect(strange.do).toContain('log in to the network')
  const absent = judgeAbsence('upstream c', failed('ECONNREFUSED'), { url, roaming: true })
  expect(absent).toMatchObject({ level: 'note', says: 'cannot be reached: connection refused' })
  expect(absent.do).toContain('https://cache.test/base/nix-cache-info')
})
