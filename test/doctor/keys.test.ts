// Promise: a key is only called unused by what was seen, and a wrong one under a right name is found.

import { expect, test } from 'vitest'

import { judgeKeys, sampleFor } from '../../src/doctor/keys.ts'
import { parseNarInfo } from '../../src/nix/narinfo.ts'
import { parsePublicKey } from '../../src/nix/signature.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'

const [one, two] = [new SyntheticCache({ keyName: 'one-1' }), new SyntheticCache({ keyName: 'two-1' })]
const keyOf = ({ publicKey }: SyntheticCache) => parsePublicKey(publicKey)
const narinfoOf = (cache: SyntheticCache) => parseNarInfo(cache.add().narinfo, '/nix/store')

test('a key that signs is right, one that nobody signs with may be idle', async () => {
  const heard = { asked: 5, narinfos: [narinfoOf(one), narinfoOf(one)] }
  expect(await judgeKeys([keyOf(one), keyOf(two)], heard)).toMatchObject([
    { level: 'ok', about: 'key one-1', says: 'signs 2 of 2 narinfos that were looked at' },
    { level: 'warning', about: 'key two-1', says: "no cache's narinfo of 5 held paths carries a signature of it" },
  ])
})

test('another key of the same name is a problem', async () => {
  const impostor = new SyntheticCache({ keyName: 'one-1' })
  expect(await judgeKeys([keyOf(impostor)], { asked: 1, narinfos: [narinfoOf(one)] })).toMatchObject([
    { level: 'problem', about: 'key one-1' },
  ])
})

test('what cannot be told is not made up', async () => {
  const [none] = await judgeKeys([keyOf(one)], { asked: 0, narinfos: [] })
  expect(none).toMatchObject({ level: 'note', says: expect.stringContaining('nothing is held yet') })
  const [lost] = await judgeKeys([keyOf(one)], { asked: 3, narinfos: [] })
  expect(lost).toMatchObject({ level: 'note', says: expect.stringContaining('nobody has any of 3 held paths now') })
})

test('no keys at all are warned of (case 143)', async () => {
  expect(await judgeKeys([], { asked: 1, narinfos: [narinfoOf(one)] })).toMatchObject([
    { level: 'warning', about: 'keys' },
  ])
})

test('a sample has paths of every key that signed what is held, and is small', () => {
  const many = Array.from({ length: 50 }, () => narinfoOf(one))
  const rare = narinfoOf(two)
  const sample = sampleFor([keyOf(one), keyOf(two)], [...many, rare])
  expect(sample).toHaveLength(12)
  expect(sample).toContain(rare.storePath.hash)
  expect(sampleFor([keyOf(one)], [])).toEqual([])
})
