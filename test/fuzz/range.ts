// A Range header: it never yields a byte outside the file, and what it yields is what RFC 9110 says.

import assert from 'node:assert/strict'

import { parseRange, rangeWithin } from '../../src/server/range.ts'
import { pure } from './target.ts'

const sizes = [0, 1, 2, 999, 1000, 1001, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]

export const range = pure({
  name: 'range',
  samples: ['bytes=0-99', 'bytes=100-', 'bytes=-500', 'Bytes= 5-6 ', 'bytes=0-1,3-4', 'bytes=1000-999', 'items=0-1'],
  words: ['bytes', '=', '-', ',', 'bytes=', '0', '999', '1000', '9007199254740993', '--'],
  check: (input) => {
    const header = input.toString('latin1')
    const asked = parseRange(header)
    const expected = model(header)
    assert.equal(asked !== undefined, expected !== undefined)
    if (!asked || !expected) return 'ignored'
    return sizes
      .map((size) => {
        const found = rangeWithin(asked, size)
        const [start, end] = expected(BigInt(size))
        if (!found) assert(start > end, `${header} of ${size} has bytes ${start} to ${end}`)
        else {
          assert(Number.isSafeInteger(found.start) && Number.isSafeInteger(found.end))
          assert(found.start >= 0 && found.start <= found.end && found.end < size)
          assert.deepEqual([BigInt(found.start), BigInt(found.end)], [start, end])
        }
        return found ? 'in' : 'out'
      })
      .join(' ')
  },
})

/** First and last byte for a size, in numbers of any length; the first is behind the last where there are none. */
function model(header: string): ((size: bigint) => readonly [bigint, bigint]) | undefined {
  const [, first, last] = /^bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*$/i.exec(header) ?? []
  if (first === undefined || last === undefined || (first === '' && last === '')) return undefined
  if (first === '') return (size) => [size > BigInt(last) ? size - BigInt(last) : 0n, size - 1n]
  if (last !== '' && BigInt(last) < BigInt(first)) return undefined
  return (size) => [BigInt(first), last !== '' && BigInt(last) < size ? BigInt(last) : size - 1n]
}
