import { expect, test } from 'vitest'

import { extentOf, mostBytes, narExtent } from '../../src/upstreams/nar-answer.ts'

const packed = { compression: 'zstd', narSize: 5000 } as const
const plain = { compression: 'none', narSize: 1000 } as const
const answer = (status: number, headers: Record<string, string> = {}) => ({ status, headers })
const damaged = expect.objectContaining({ code: 'damaged' })

test('the length of a NAR is what the response says', () => {
  expect(narExtent(answer(200, { 'content-length': '1000' }), undefined, packed)).toEqual({
    size: 1000,
    expected: 1000,
  })
  expect(narExtent(answer(200), undefined, packed)).toEqual({ size: undefined, expected: undefined })
})

test('case 82: a NAR that travels as it is has the length that was signed, said or not', () => {
  expect(narExtent(answer(200), undefined, plain)).toEqual({ size: 1000, expected: 1000 })
  expect(() => narExtent(answer(200, { 'content-length': '999' }), undefined, plain)).toThrow(damaged)
  expect(() => narExtent(answer(206, { 'content-range': 'bytes 5-998/999' }), { start: 5 }, plain)).toThrow(damaged)
})

test.each([
  [{ start: 5 }, 'bytes 5-999/1000', 995],
  [{ start: 0 }, 'bytes 0-999/1000', 1000],
  [{ start: 5, end: 9 }, 'bytes 5-9/1000', 5],
  [{ start: 990, end: 2000 }, 'bytes 990-999/1000', 10],
])('case 76: to %j, Content-Range %s is right', (range, header, expected) => {
  expect(narExtent(answer(206, { 'content-range': header }), range, packed)).toEqual({ size: 1000, expected })
})

test.each([
  [{ start: 5 }, 206, 'bytes 0-999/1000'],
  [{ start: 5 }, 206, 'bytes 6-999/1000'],
  [{ start: 5 }, 206, 'bytes 5-998/1000'],
  [{ start: 5 }, 206, 'bytes 5-999/*'],
  [{ start: 5 }, 206, 'bytes 5-1000/1000'],
  [{ start: 5, end: 9 }, 206, 'bytes 5-10/1000'],
  [{ start: 1000 }, 206, 'bytes 1000-999/1000'],
  [{ start: 5 }, 206, 'items 5-999/1000'],
  [{ start: 5 }, 206, undefined],
  [{ start: 5 }, 200, undefined],
  [undefined, 206, 'bytes 0-999/1000'],
])('case 76: to %j, status %i with Content-Range %s is a failure', (range, status, header) => {
  const headers: Record<string, string> = header === undefined ? {} : { 'content-range': header }
  expect(() => narExtent(answer(status, headers), range, packed)).toThrow(damaged)
})

test('case 76: a part must be as long as its Content-Range says', () => {
  const headers = { 'content-range': 'bytes 5-999/1000', 'content-length': '994' }
  expect(() => narExtent(answer(206, headers), { start: 5 }, packed)).toThrow(damaged)
  expect(() => extentOf(answer(206, headers), { start: 5 })).toThrow(damaged)
})

test('case 77: a NAR with a Content-Encoding is refused', () => {
  expect(() => narExtent(answer(200, { 'content-encoding': 'gzip' }), undefined, plain)).toThrow(damaged)
  expect(narExtent(answer(200, { 'content-encoding': 'identity' }), undefined, plain).size).toBe(1000)
})

test('case 88: an empty NAR is refused', () => {
  expect(() => narExtent(answer(200, { 'content-length': '0' }), undefined, packed)).toThrow(damaged)
})

test('case 68: where nobody says how long a NAR is, there is still an end to it', () => {
  expect(mostBytes({ fileSize: undefined, narSize: 1_600_000 })).toBe(1_700_000 + 64 * 1024)
  expect(mostBytes({ fileSize: 5_000_000, narSize: 1000 })).toBe(5_000_000)
})

test('case 75: a web page of another length is refused before a byte of it goes out; the one or the other alone is not', () => {
  const sized = { ...packed, fileSize: 1000 }
  const html = { 'content-type': 'text/html; charset=utf-8' }
  expect(() => narExtent(answer(200, { ...html, 'content-length': '44' }), undefined, sized)).toThrow(damaged)
  expect(() => narExtent(answer(200, html), undefined, sized)).toThrow(damaged)
  expect(narExtent(answer(200, { ...html, 'content-length': '1000' }), undefined, sized).size).toBe(1000)
  expect(narExtent(answer(200, { 'content-length': '44' }), undefined, sized).size).toBe(44)
})
