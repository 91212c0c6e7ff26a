import { describe, expect, test } from 'vitest'

import { uploadAccess } from '../../src/server/upload-access.ts'

const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`

describe('who may upload', () => {
  test('those with credentials, from wherever', () => {
    const allowed = uploadAccess({ credentials: ['ann:pass:word', 'bob:é'], addresses: [] })
    for (const given of [basic('ann:pass:word'), basic('bob:é'), basic('ann:pass:word').replace('Basic', 'basic')]) {
      expect(allowed(given, '192.0.2.1')).toBe(true)
    }
  })

  test.each([
    undefined,
    '',
    basic('ann:wrong'),
    basic('ann:password1'),
    basic('ann:passwor'),
    basic('Ann:password'),
    basic('ann'),
    basic(''),
    'Basic',
    'Basic ',
    'Basic !!!',
    `Bearer ${Buffer.from('ann:password').toString('base64')}`,
    'ann:password',
  ])('not those with %j', (given) => {
    expect(uploadAccess({ credentials: ['ann:password'], addresses: [] })(given, '192.0.2.1')).toBe(false)
  })

  test('those at an address of the list, with whatever credentials', () => {
    const allowed = uploadAccess({
      credentials: ['ann:password'],
      addresses: ['192.0.2.0/24', '2001:db8::/32', '10.1.2.3/32'],
    })
    for (const near of ['192.0.2.7', '::ffff:192.0.2.7', '::FFFF:192.0.2.7', '2001:db8:1::1', '10.1.2.3']) {
      expect(allowed(undefined, near)).toBe(true)
      expect(allowed(basic('x:y'), near)).toBe(true)
    }
    for (const far of ['192.0.3.7', '2001:db9::1', '10.1.2.4', '::1', '127.0.0.1', '', 'nonsense']) {
      expect(allowed(undefined, far)).toBe(false)
    }
  })

  test('those on a link, whichever', () => {
    const allowed = uploadAccess({ credentials: [], addresses: ['fe80::/10'] })
    expect(allowed(undefined, 'fe80::1%eth0')).toBe(true)
    expect(allowed(undefined, '2001:db8::1%eth0')).toBe(false)
  })

  test('everybody, if the list says so', () => {
    const allowed = uploadAccess({ credentials: [], addresses: ['0.0.0.0/0'] })
    expect(allowed(undefined, '203.0.113.9')).toBe(true)
    expect(allowed(undefined, '2001:db8::1')).toBe(false)
  })

  test('nobody, if there is no rule', () => {
    const allowed = uploadAccess({ credentials: [], addresses: [] })
    expect(allowed(undefined, '127.0.0.1')).toBe(false)
    expect(allowed(basic(':'), '127.0.0.1')).toBe(false)
  })

  test.each(['192.0.2.0', '192.0.2.0/33', '2001:db8::/129', 'example.org/24', '192.0.2.0/', '/24', '192.0.2.0/x'])(
    'an address like %s is a mistake of the configuration',
    (address) => {
      expect(() => uploadAccess({ credentials: [], addresses: [address] })).toThrow(
        expect.objectContaining({ code: 'bad-config' }),
      )
    },
  )
})
