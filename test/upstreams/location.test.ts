import { expect, test } from 'vitest'

import { narLocation, redirectTarget } from '../../src/upstreams/location.ts'

const bounds = { own: new URL('https://cache.example.org/team/'), allowedHosts: ['cdn.example.org'] }

test.each([
  ['nar/x.nar.xz', 'https://cache.example.org/team/nar/x.nar.xz'],
  ['x', 'https://cache.example.org/team/x'],
  ['/nar/x', 'https://cache.example.org/nar/x'],
  ['nar/x.nar?hash=y&X-Amz-Signature=a%2Fb', 'https://cache.example.org/team/nar/x.nar?hash=y&X-Amz-Signature=a%2Fb'],
  ['nar/x?up=../y', 'https://cache.example.org/team/nar/x?up=../y'],
  [
    'nar/6f3c9f0e-0000-4000-8000-000000000000',
    'https://cache.example.org/team/nar/6f3c9f0e-0000-4000-8000-000000000000',
  ],
  ['nar/a..b', 'https://cache.example.org/team/nar/a..b'],
  ['https://cache.example.org/team/nar/x', 'https://cache.example.org/team/nar/x'],
  ['https://cdn.example.org/nar/x?sig=1', 'https://cdn.example.org/nar/x?sig=1'],
  ['https://me:secret@cdn.example.org/nar/x#part', 'https://cdn.example.org/nar/x'],
])('cases 55, 57, 58, 59: the NAR URL %s is at %s', (text, url) => {
  expect(narLocation(text, bounds).href).toBe(url)
})

test.each([
  '../../etc/passwd',
  'nar/../../x',
  'nar/%2e%2e/x',
  'nar/%2E./x',
  'nar/..\\x',
  'https://cache.example.org/team/../x',
  'https://evil.example.org/nar/x',
  '//evil.example.org/nar/x',
  '\\\\evil.example.org\\x',
  'http://cache.example.org/team/nar/x',
  'http://127.0.0.1/x',
  'https://[::1]/x',
  'https://169.254.169.254/latest/meta-data',
  'file:///etc/passwd',
  'ftp://cache.example.org/x',
  'javascript:x',
  'https://',
])('cases 54, 55, 56: the NAR URL %s is refused', (text) => {
  expect(() => narLocation(text, bounds)).toThrow(expect.objectContaining({ code: 'bad-address' }))
})

const from = new URL('https://cache.example.org/team/nar/x')

test.each([
  ['/y', 'https://cache.example.org/y'],
  ['y?z', 'https://cache.example.org/team/nar/y?z'],
  ['https://cdn.example.org/y', 'https://cdn.example.org/y'],
])('case 98: a redirect to %s leads to %s', (location, url) => {
  expect(redirectTarget(from, location, bounds).href).toBe(url)
})

test.each([
  'https://login.example.com/portal',
  'http://cache.example.org/team/nar/x',
  'http://cdn.example.org/y',
  'file:///etc/passwd',
])('cases 17, 56, 98: a redirect to %s is refused', (location) => {
  expect(() => redirectTarget(from, location, bounds)).toThrow(expect.objectContaining({ code: 'bad-address' }))
})

test('case 98: what https has reached never goes back to http, though the upstream itself is http', () => {
  const plain = { own: new URL('http://cache.example.org/'), allowedHosts: ['cdn.example.org'] }
  const secure = new URL('https://cdn.example.org/x')
  expect(() => redirectTarget(secure, 'http://cache.example.org/x', plain)).toThrow('from https to http:')
})

test('case 98: a redirect to nowhere is a failure', () => {
  for (const location of [undefined, 'https://[']) {
    expect(() => redirectTarget(from, location, bounds)).toThrow(expect.objectContaining({ code: 'bad-status' }))
  }
})
