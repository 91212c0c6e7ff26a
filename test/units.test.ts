// Promise: a size or duration means one thing, and what lacks its unit is refused with what to write instead.

import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { ProxyError } from '../src/errors.ts'
import { parseDuration, parseSize, printDuration, printSize } from '../src/units.ts'

describe('durations', () => {
  test.each([
    ['150ms', 150],
    ['8s', 8000],
    ['1.5s', 1500],
    ['10m', 600_000],
    ['2h', 7_200_000],
    ['24h', 86_400_000],
    ['0s', 0],
    [' 10 s ', 10_000],
  ])('%j is %d ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms)
  })

  test.each([
    [8, '8 has no unit; write "8s" or "8ms"'],
    ['8', '8 has no unit; write "8s" or "8ms"'],
    ['8 sec', '"8 sec" has an unknown unit "sec"; a duration is written like "150ms", "8s", "10m" or "2h"'],
    ['8MB', '"8MB" has an unknown unit "MB"'],
    ['soon', '"soon" is not understood; a duration is written like'],
    ['-8s', '"-8s" is not understood'],
    ['1e3s', '"1e3s" is not understood'],
    ['25h', '"25h" is longer than a day (24h)'],
    [true, 'true is not understood'],
    [undefined, 'is missing; a duration is written like'],
  ])('%j is refused', (value, complaint) => {
    expect(() => parseDuration(value)).toThrow(complaint)
  })

  test('what is printed is read back as the same duration', () => {
    const back = fc.property(fc.integer({ min: 0, max: 86_400_000 }), (ms) => parseDuration(printDuration(ms)) === ms)
    expect(() => fc.assert(back)).not.toThrow()
    expect([150, 1500, 8000, 600_000, 7_200_000].map(printDuration)).toEqual(['150ms', '1500ms', '8s', '10m', '2h'])
  })
})

describe('sizes', () => {
  test.each([
    ['200GiB', 200 * 2 ** 30],
    ['5GB', 5e9],
    ['10MB', 1e7],
    ['64KiB', 65_536],
    ['1kB', 1000],
    ['1.5TiB', 1.5 * 2 ** 40],
    ['7B', 7],
  ])('%j is %d bytes', (text, size) => {
    expect(parseSize(text)).toBe(size)
  })

  test.each([
    [200, '200 has no unit; write "200GiB" or "200MB"'],
    ['200G', '"200G" has an unknown unit "G"; write "200GiB" or "200GB"'],
    ['5gb', '"5gb" has an unknown unit "gb"; write "5GiB" or "5GB"'],
    ['5s', '"5s" has an unknown unit "s"; a size is written like "200GiB"'],
    ['lots', '"lots" is not understood'],
    ['99999999TiB', '"99999999TiB" is larger than any disk'],
    [[], '[] is not understood'],
  ])('%j is refused', (value, complaint) => {
    expect(() => parseSize(value)).toThrow(complaint)
  })

  test('are printed with three figures', () => {
    const printed = [0, 812, 1023, 1024, 1_610_612_736, 25_270_682, 1_073_741_823].map(printSize)
    expect(printed).toEqual(['0 B', '812 B', '0.999 KiB', '1.00 KiB', '1.50 GiB', '24.1 MiB', '1.00 GiB'])
  })
})

test('whatever comes, nothing but our error is thrown', () => {
  const refusesProperly = (parse: (value: unknown) => number) =>
    fc.property(fc.oneof(fc.anything(), fc.string()), (value) => {
      try {
        return parse(value) >= 0
      } catch (error) {
        return error instanceof ProxyError && error.code === 'bad-config'
      }
    })
  expect(() => fc.assert(refusesProperly(parseDuration))).not.toThrow()
  expect(() => fc.assert(refusesProperly(parseSize))).not.toThrow()
})
