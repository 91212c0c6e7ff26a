// Promise: every byte that came is read once and in order, whatever the reader's pace and the sender's pieces, in the memory of two blocks.

import { randomBytes } from 'node:crypto'

import * as fc from 'fast-check'
import { expect, test } from 'vitest'

import { IncomingBody } from '../../src/upstreams/incoming-body.ts'

const block = 512 * 1024

function bodyOf(expected?: number) {
  const aborts: Error[] = []
  let resumed = 0
  const body = new IncomingBody({
    expected,
    resume: () => {
      resumed++
    },
    abort: (reason) => {
      aborts.push(reason)
    },
  })
  return { body, aborts, resumed: () => resumed }
}

/** A turn of the event loop. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

async function all(body: AsyncIterable<Uint8Array>, pause = false): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of body) {
    chunks.push(Buffer.from(chunk))
    if (pause) await turn()
  }
  return Buffer.concat(chunks)
}

test('what comes in any pieces is read whole, by quick and slow readers, whatever length was said', async () => {
  const pieces = fc.array(fc.integer({ min: 1, max: 256 * 1024 }), { maxLength: 12 })
  const said = fc.constantFrom('the truth', 'nothing', 'too little')
  await fc.assert(
    fc.asyncProperty(pieces, fc.boolean(), fc.boolean(), said, async (sizes, slowReader, slowSender, what) => {
      const sent = sizes.map((size) => randomBytes(size))
      const whole = Buffer.concat(sent)
      const expected = { 'the truth': whole.length, nothing: undefined, 'too little': whole.length >> 1 }[what]
      let go = (): void => {}
      const body = new IncomingBody({ expected, resume: () => go(), abort: () => {} })
      const reading = all(body, slowReader)
      const once = Buffer.allocUnsafe(256 * 1024)
      for (const piece of sent) {
        // The sender's buffer is used again at once.
        const chunk = once.subarray(0, piece.copy(once))
        const waits = new Promise<void>((resolve) => (go = resolve))
        if (!body.take(chunk)) await waits
        once.fill(0)
        if (slowSender) await turn()
      }
      body.end()
      expect(Buffer.compare(await reading, whole)).toBe(0)
      expect(body.over).toBe(true)
    }),
    { numRuns: 60 },
  )
})

test('a sender is stopped before there is more than a block, and goes on when that is read', async () => {
  const { body, resumed } = bodyOf()
  const piece = Buffer.alloc(64 * 1024)
  let taken = 0
  while (body.take(piece)) taken += piece.length
  expect(taken).toBeLessThan(block)
  expect(body.length).toBeLessThanOrEqual(block)
  expect(resumed()).toBe(0)
  expect((await body.next()).value).toHaveLength(taken + piece.length)
  expect(resumed()).toBe(1)
})

test('two blocks are used in turn', async () => {
  const { body } = bodyOf()
  const blocks = new Set<ArrayBufferLike>()
  for (let count = 0; count < 20; count++) {
    while (body.take(Buffer.alloc(64 * 1024, count)));
    const { value } = await body.next()
    expect(value?.at(-1)).toBe(count)
    if (value) blocks.add(value.buffer)
  }
  // One more: the first was smaller, for nobody had said how much would come.
  expect(blocks.size).toBeLessThanOrEqual(3)
})

test('what had come before a failure is read first, and after it nothing', async () => {
  const { body, aborts } = bodyOf(100)
  body.take(Buffer.from('abc'))
  body.fail(new Error('cut'))
  expect(String((await body.next()).value)).toBe('abc')
  await expect(body.next()).rejects.toThrow('cut')
  expect(body.over).toBe(true)
  expect(await body.next()).toEqual({ done: true, value: undefined })
  expect(aborts).toEqual([])
})

test.each(['waits', 'does not wait'])(
  'who gives it up is told so when he %s, and so is the connection',
  async (how) => {
    const { body, aborts } = bodyOf()
    let overs = 0
    body.whenOver(() => overs++)
    const reason = new Error('no longer wanted')
    const reading = how === 'waits' ? body.next() : undefined
    if (!reading) body.take(Buffer.from('abc'))
    body.destroy(reason)
    await expect(reading ?? body.next()).rejects.toBe(reason)
    body.destroy(new Error('twice'))
    expect(aborts).toEqual([reason])
    expect(overs).toBe(1)
    body.whenOver(() => overs++)
    expect(overs).toBe(2)
    // Whatever comes all the same is of no use.
    expect(body.take(Buffer.from('late'))).toBe(true)
    body.end()
    body.fail(new Error('late'))
  },
)

test('leaving a loop gives it up; where all had come, there is nothing to stop', async () => {
  for (const ended of [true, false]) {
    const { body, aborts } = bodyOf()
    body.take(Buffer.from('abc'))
    if (ended) body.end()
    for await (const chunk of body) {
      expect(String(chunk)).toBe('abc')
      break
    }
    expect(body.over).toBe(true)
    expect(aborts).toHaveLength(ended ? 0 : 1)
    expect(await body.next()).toEqual({ done: true, value: undefined })
  }
})

test('a body without bytes has an end', async () => {
  const { body } = bodyOf(undefined)
  const reading = all(body)
  body.end()
  expect(await reading).toHaveLength(0)
})
