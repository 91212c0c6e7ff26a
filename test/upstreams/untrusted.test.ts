// Promise: who wonders why a narinfo is refused reads which key it would take, at no more length than that needs.

import { expect, test } from 'vitest'

import { parseNarInfo } from '../../src/nix/narinfo.ts'
import { parsePublicKey } from '../../src/nix/signature.ts'
import { whyUntrusted } from '../../src/upstreams/untrusted.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'

const keys = [parsePublicKey(new SyntheticCache({ keyName: 'ours-1' }).publicKey)]

function signedBy(...names: string[]) {
  const entry = new SyntheticCache().add({ signed: false })
  const lines = names.map((keyName) => `Sig: ${new SyntheticCache({ keyName }).sign('nonsense')}\n`)
  return parseNarInfo(entry.narinfo + lines.join(''), '/nix/store')
}

test.each([
  [[], 'no signature of a trusted key: it has none'],
  [['other-1', 'other-1', 'third-1'], 'no signature of a trusted key, only of other-1, third-1'],
  [['other-1', 'ours-1'], 'no signature of a trusted key: that of ours-1 is wrong'],
  [['a', 'b', 'c', 'd', 'e', 'f', 'g'], 'no signature of a trusted key, only of a, b, c, d, e, 2 more'],
  [['x'.repeat(500)], `no signature of a trusted key, only of ${'x'.repeat(60)}`],
])('signed by %j', (names, why) => {
  expect(whyUntrusted(signedBy(...names), keys)).toBe(why)
})
