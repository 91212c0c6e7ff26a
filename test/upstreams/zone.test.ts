import { expect, test } from 'vitest'

import { splitZone } from '../../src/upstreams/zone.ts'

test.each([
  ['http://[fe80::1%25wlan0]:8501/', 'http://[fe80::1]:8501/', 'wlan0'],
  ['http://[fe80::1%eth0.100]:8501/cache', 'http://[fe80::1]:8501/cache', 'eth0.100'],
  ['http://[fe80::1]:8501', 'http://[fe80::1]:8501/', undefined],
  ['https://cache.example.org/a%25b', 'https://cache.example.org/a%25b', undefined],
])('case 101: %s is %s through %s', (text, url, zone) => {
  expect(splitZone(text)).toEqual({ url: new URL(url), zone })
})

test.each(['', 'ftp://[fe80::1%25wlan0]/', 'http://[fe80::1%25]/', 'http://[fe80::1%25wl/an]/', '10.0.0.1:8501'])(
  '%j is no URL of a cache',
  (text) => {
    expect(splitZone(text)).toBeUndefined()
  },
)
