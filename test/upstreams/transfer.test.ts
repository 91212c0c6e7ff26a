import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'

import { describe, expect, test } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import { Transfer, type TransferOptions } from '../../src/upstreams/transfer.ts'
import { bytesOf } from '../support/substituter-conformance.ts'

const patient = { bytesPerSecond: 1, window: 60_000 }

/** A body in pieces; a number is a pause in ms, `stall` lasts for ever, an error breaks it. */
function bodyOf(...pieces: readonly (Uint8Array | string | number | Error)[]): Readable {
  const body = new Readable({ read: () => {} }).on('error', () => {})
  const play = async (): Promise<void> => {
    for (const piece of pieces) {
      if (typeof piece === 'number') await new Promise((resolve) => setTimeout(resolve, piece))
      if (piece === 'stall') return
      if (piece instanceof Error) {
        await new Promise((resolve) => setImmediate(resolve))
        body.destroy(piece)
      } else if (typeof piece !== 'number') body.push(Buffer.from(piece))
    }
    body.push(null)
  }
  void play()
  return body
}

function transferOf(body: Readable, options: Partial<TransferOptions> = {}) {
  const settled: (ProxyError | undefined)[] = []
  const transfer = new Transfer({
    who: 'upstream u',
    body,
    lowSpeed: patient,
    signal: new AbortController().signal,
    settled: (failure) => settled.push(failure),
    ...options,
  })
  return { transfer, settled, body: transfer }
}

test('a body that is as long as it should be comes as it is, and that is told', async () => {
  const bytes = randomBytes(100_000)
  const { body, settled } = transferOf(bodyOf(bytes.subarray(0, 30_000), bytes.subarray(30_000)), { expected: 100_000 })
  expect(Buffer.compare(await bytesOf({ body }), bytes)).toBe(0)
  expect(settled).toEqual([undefined])
  expect(await body.next()).toEqual({ done: true, value: undefined })
})

test.each([
  ['that ends too early', ['abc'], { expected: 4 }, 'upstream u: cut after 3 of 4 bytes'],
  ['that is longer', ['abc', 'de'], { expected: 4 }, 'upstream u: longer than the 4 bytes it can have'],
  ['that never ends', ['abc', 'de'], { most: 4 }, 'upstream u: longer than the 4 bytes it can have'],
  ['that is empty', [], { least: 1 }, 'upstream u: cut after 0 bytes'],
  ['that breaks', ['abc', new Error('socket hang up')], { expected: 4 }, 'upstream u: cut after 3 of 4 bytes'],
] as const)('cases 67, 68, 88: a body %s is damaged', async (_, pieces, bounds, message) => {
  const source = bodyOf(...pieces)
  const { body, settled } = transferOf(source, bounds)
  await expect(bytesOf({ body })).rejects.toMatchObject({ code: 'damaged', message })
  expect(settled).toEqual([expect.objectContaining({ message })])
  expect(source.destroyed).toBe(true)
  expect(await body.next()).toEqual({ done: true, value: undefined })
})

test('what is encoded is decoded, and counted as it comes out', async () => {
  const bytes = Buffer.alloc(10_000, 'log ')
  const { body } = transferOf(bodyOf(gzipSync(bytes)), { encoding: 'gzip', expected: 10_000 })
  expect(Buffer.compare(await bytesOf({ body }), bytes)).toBe(0)
  const wrong = transferOf(bodyOf('no gzip'), { encoding: 'gzip' })
  await expect(bytesOf(wrong)).rejects.toMatchObject({ code: 'damaged', message: expect.stringContaining('decode') })
})

describe('the speed', () => {
  test('case 86: who stalls is given up', async () => {
    const source = bodyOf('abc', 'stall')
    const { body, settled } = transferOf(source, { lowSpeed: { bytesPerSecond: 1000, window: 30 } })
    await expect(bytesOf({ body })).rejects.toMatchObject({
      code: 'timeout',
      message: 'upstream u: too slow after 3 bytes (less than 1000 bytes a second over 30 ms)',
    })
    expect(settled).toHaveLength(1)
    expect(source.destroyed).toBe(true)
  })

  test('case 86: who begins well and then stalls is given up, too', async () => {
    const { body } = transferOf(bodyOf(Buffer.alloc(1000), 'stall'), { lowSpeed: { bytesPerSecond: 1000, window: 30 } })
    await expect(bytesOf({ body })).rejects.toMatchObject({ code: 'timeout' })
  })

  test('case 136: a byte now and then is not enough', async () => {
    const drips = Array.from({ length: 500 }, (_, n) => (n % 2 === 0 ? 'x' : 10))
    const { body } = transferOf(bodyOf(...drips), { lowSpeed: { bytesPerSecond: 10_000, window: 100 } })
    await expect(bytesOf({ body })).rejects.toMatchObject({ code: 'timeout' })
  })

  test('who is fast enough on average may pause', async () => {
    const bytes = Buffer.alloc(100_000)
    const pieces = [bytes, 40, bytes, 40, bytes, 40, bytes]
    const { body } = transferOf(bodyOf(...pieces), { lowSpeed: { bytesPerSecond: 1, window: 100 } })
    expect((await bytesOf({ body })).length).toBe(400_000)
  })

  test('case 83: a slow reader is not the fault of the upstream', async () => {
    const source = bodyOf('stall')
    const { transfer } = transferOf(source, { lowSpeed: { bytesPerSecond: 1_000_000, window: 50 } })
    const read: string[] = []
    for (const letter of 'abcd') {
      source.push(letter)
      read.push(String((await transfer.next()).value))
      await new Promise((resolve) => setTimeout(resolve, 30))
    }
    expect(read).toEqual(['a', 'b', 'c', 'd'])
  })
})

describe('giving up', () => {
  test('a transfer that is returned before the first chunk frees its body, and blames nobody', async () => {
    const source = bodyOf('abc', 'stall')
    const { transfer, settled } = transferOf(source)
    await transfer.return()
    expect(source.destroyed).toBe(true)
    expect(await transfer.next()).toEqual({ done: true, value: undefined })
    expect(settled).toEqual([])
  })

  test('a loop that is left frees the body', async () => {
    const source = bodyOf('abc', 'def', 'stall')
    const { transfer, settled } = transferOf(source)
    for await (const _ of transfer) break
    expect(source.destroyed).toBe(true)
    expect(settled).toEqual([])
  })

  test('an encoded one, too', async () => {
    const source = bodyOf(gzipSync(randomBytes(100_000)).subarray(0, 50_000), 'stall')
    const { transfer } = transferOf(source, { encoding: 'gzip' })
    for await (const _ of transfer) break
    expect(source.destroyed).toBe(true)
  })

  test.each([new Error('gone'), new ProxyError('timeout', 'the deadline of somebody else')])(
    'a reader who has gone blames nobody: %s',
    async (reason) => {
      const controller = new AbortController()
      const source = bodyOf('abc', 'stall')
      const { transfer, settled } = transferOf(source, { signal: controller.signal })
      await transfer.next()
      const next = expect(transfer.next()).rejects.toMatchObject({ code: 'aborted' })
      controller.abort(reason)
      source.destroy(reason)
      await next
      expect(settled).toEqual([])
    },
  )
})
