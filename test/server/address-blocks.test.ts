// Promise: an address lies in a block or it does not, however the socket writes it.

import { expect, test } from 'vitest'

import { addressBlocks } from '../../src/server/address-blocks.ts'

test('addresses of both families, mapped ones and those with a zone are told apart', () => {
  const within = addressBlocks('x', ['192.0.2.0/24', 'fe80::/10', '10.1.2.3/32'])
  for (const inside of ['192.0.2.7', '::ffff:192.0.2.7', 'fe80::1%eth0', '10.1.2.3']) expect(within(inside)).toBe(true)
  for (const outside of ['192.0.3.7', '::ffff:192.0.3.7', '10.1.2.4', '', 'x']) expect(within(outside)).toBe(false)
})

test('what is no block is named, with the key it stands under', () => {
  expect(() => addressBlocks('explain', ['192.0.2.0'])).toThrow(
    /^explain: 192\.0\.2\.0 is not an address with a prefix/,
  )
})
