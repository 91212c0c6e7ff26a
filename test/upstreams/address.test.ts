import { describe, expect, test } from 'vitest'

import { isPublicAddress, reachOf } from '../../src/upstreams/address.ts'

describe('which addresses are public', () => {
  test.each([
    '8.8.8.8',
    '151.101.1.91',
    '172.32.0.1',
    '100.128.0.1',
    '2606:4700::1111',
    '2a04:4e42::347',
    '64:ff9b::8.8.8.8',
    '::ffff:8.8.8.8',
  ])('case 56: %s is public', (address) => {
    expect(isPublicAddress(address)).toBe(true)
  })

  test.each([
    '127.0.0.1',
    '127.255.1.2',
    '0.0.0.0',
    '10.1.2.3',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '198.18.0.1',
    '224.0.0.251',
    '255.255.255.255',
    '::',
    '::1',
    '::127.0.0.1',
    'fe80::1',
    'fe80::1%eth0',
    'fc00::1',
    'fd12:3456::1',
    'ff02::fb',
    '2002:7f00:1::',
    '::ffff:127.0.0.1',
    '::ffff:a9fe:a9fe',
    '64:ff9b::10.0.0.1',
    '64:ff9b::7f00:1',
    '64:ff9b:1::1',
    '2001:db8::1',
    'no address',
    '',
  ])('case 56: %s is not public', (address) => {
    expect(isPublicAddress(address)).toBe(false)
  })
})

describe('which hosts an upstream may lead to', () => {
  const bounds = (own: string, ...allowedHosts: string[]) => ({ own: new URL(own), allowedHosts })
  const lan = bounds('http://10.0.0.1:8501/')
  const cdn = bounds(
    'https://cache.example.org/',
    'cdn.example.org',
    '*.example.net:8443',
    '10.0.0.7:8080',
    '[fd00::1]',
  )

  test('case 56: the address that the operator wrote is always allowed, whatever it is', () => {
    expect(reachOf(new URL('http://10.0.0.1:8501/nar/x'), lan)).toBe('any')
    expect(reachOf(new URL('http://127.0.0.1/'), bounds('http://127.0.0.1/cache/'))).toBe('any')
  })

  test.each(['http://10.0.0.1/', 'http://10.0.0.1:22/', 'http://10.0.0.2:8501/', 'https://10.0.0.1:8501/'])(
    'case 56: another host, port or scheme is not: %s',
    (url) => {
      expect(reachOf(new URL(url), lan)).toBeUndefined()
    },
  )

  test.each([
    ['https://cdn.example.org/x', 'public'],
    ['https://CDN.example.org:443/x', 'public'],
    ['https://a.example.net:8443/x', 'public'],
    ['https://a.b.example.net:8443/x', 'public'],
    ['https://10.0.0.7:8080/x', 'any'],
    ['https://[fd00::1]/x', 'any'],
    ['https://example.net:8443/x', undefined],
    ['https://notexample.net:8443/x', undefined],
    ['https://a.example.net/x', undefined],
    ['https://cdn.example.org:8443/x', undefined],
    ['https://10.0.0.7/x', undefined],
    ['https://cdn.example.org.evil.org/x', undefined],
  ] as const)('case 55: with a list of hosts, %s is %s', (url, reach) => {
    expect(reachOf(new URL(url), cdn)).toBe(reach)
  })

  test('case 56: nothing but http and https, and no http where the upstream has https', () => {
    for (const url of [
      'ftp://cdn.example.org/x',
      'file:///etc/passwd',
      'gopher://cdn.example.org/',
      'http://cdn.example.org/x',
    ]) {
      expect(reachOf(new URL(url), cdn)).toBeUndefined()
    }
    expect(reachOf(new URL('http://cdn.example.org/x'), bounds('http://cache.example.org', 'cdn.example.org'))).toBe(
      'public',
    )
  })

  test('an entry that is no host allows nothing', () => {
    expect(
      reachOf(new URL('https://a.org/'), bounds('https://cache.example.org/', '', '*.', 'a b', 'https://a.org')),
    ).toBeUndefined()
  })

  test('case 56: other spellings of an address are the same address', () => {
    expect(reachOf(new URL('http://0x7f.1/'), lan)).toBeUndefined()
    expect(reachOf(new URL('http://167772161:8501/'), lan)).toBe('any')
  })
})
