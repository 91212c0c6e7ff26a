// Promise: what was written last can be read from memory, unchanged for as long as it is lent, and memory has a bound.

import { describe, expect, test } from 'vitest'

import { RecentBytes, type Lent } from '../../src/store/recent-bytes.ts'

const size = 4096
const everything = Number.MAX_SAFE_INTEGER

/** Bytes as the file has them: each block has a letter of its own. */
function block(index: number): Buffer {
  return Buffer.alloc(size, index + 1)
}

/** A file that is written a block at a time, each into the buffer that is there for it. */
class Writer {
  readonly recent = new RecentBytes({ expected: size })
  readonly used: Buffer[] = []
  written = 0

  write(blocks: number): void {
    for (let left = blocks; left > 0; left -= 1) {
      const buffer = this.recent.take()
      block(this.written).copy(buffer)
      this.used.push(buffer)
      this.recent.add(buffer, this.written * size, size)
      this.written += 1
    }
  }

  lend(index: number, limit = everything): Lent | undefined {
    return this.recent.lend(index * size, limit)
  }

  /** The same of a block that must be here. */
  hold(index: number): Lent {
    const lent = this.lend(index)
    if (!lent) throw new Error(`block ${index} is not here`)
    return lent
  }
}

function bytes(lent: Lent | undefined): Buffer | undefined {
  return lent && Buffer.from(lent.bytes)
}

describe('the bytes that were written last', () => {
  test('are lent as they were written, from any position in them', () => {
    const writer = new Writer()
    writer.write(3)
    for (const index of [0, 1, 2]) expect(bytes(writer.lend(index))).toEqual(block(index))
    const recent = new RecentBytes({ expected: size })
    const [first, second] = [recent.take(), recent.take()]
    first.write('hello')
    second.write('world!')
    recent.add(first, 100, 5)
    recent.add(second, 105, 6)
    expect(String(bytes(recent.lend(100, everything)))).toBe('hello')
    expect(String(bytes(recent.lend(104, everything)))).toBe('o')
    expect(String(bytes(recent.lend(107, everything)))).toBe('rld!')
    expect(recent.lend(99, everything)).toBeUndefined()
    expect(recent.lend(111, everything)).toBeUndefined()
  })

  test('end at the limit, and are not lent beyond it', () => {
    const writer = new Writer()
    writer.write(2)
    expect(bytes(writer.lend(0, 10))).toEqual(block(0).subarray(0, 10))
    expect(bytes(writer.lend(1, size + 1))).toEqual(block(1).subarray(0, 1))
    expect(bytes(writer.lend(0, size + 10))).toEqual(block(0))
  })

  test('are those of a few blocks: what is further back is no longer here', () => {
    const writer = new Writer()
    writer.write(10)
    expect([1, 2, 3, 4, 5].map((index) => writer.lend(index))).toEqual(Array.from({ length: 5 }))
    for (const index of [6, 7, 8, 9]) expect(bytes(writer.lend(index))).toEqual(block(index))
  })

  test('are in the same few buffers again and again while nobody holds on to any', () => {
    const writer = new Writer()
    for (let times = 0; times < 50; times += 1) {
      writer.write(1)
      writer.hold(writer.written - 1).giveBack()
    }
    expect(new Set(writer.used).size).toBeLessThanOrEqual(6)
  })
})

describe('the first bytes', () => {
  test('are here for whoever joins, however many others hold on to what came later', () => {
    const writer = new Writer()
    writer.write(1)
    for (let times = 0; times < 20; times += 1) {
      writer.write(1)
      writer.lend(writer.written - 1)
    }
    expect(writer.lend(writer.written - 1)).toBeUndefined()
    const many = Array.from({ length: 50 }, () => writer.hold(0))
    writer.write(50)
    for (const lent of many) {
      expect(bytes(lent)).toEqual(block(0))
      lent.giveBack()
    }
    writer.write(50)
    expect(bytes(writer.hold(0))).toEqual(block(0))
  })

  test('are not kept where nobody follows', () => {
    const recent = new RecentBytes({ expected: size, kept: 0 })
    const buffer = recent.take()
    recent.add(buffer, 0, size)
    expect(recent.lend(0, everything)).toBeUndefined()
    expect(recent.take()).toBe(buffer)
  })
})

describe('a block that is lent', () => {
  test('stays as it is until it is given back, whatever is written meanwhile', () => {
    const writer = new Writer()
    writer.write(2)
    const [lent, twice] = [writer.hold(1), writer.hold(1)]
    writer.write(50)
    expect(bytes(lent)).toEqual(block(1))
    lent.giveBack()
    writer.write(50)
    // Another reader has it still.
    expect(bytes(twice)).toEqual(block(1))
    twice.giveBack()
    const before = new Set(writer.used).size
    writer.write(10)
    expect(writer.used.slice(-10)).toContain(writer.used[1])
    expect(new Set(writer.used).size).toBe(before)
  })

  test('stays as it is when it was given back by one reader and lent to another before it went out', () => {
    const writer = new Writer()
    writer.write(2)
    writer.hold(1).giveBack()
    const lent = writer.hold(1)
    writer.write(50)
    expect(bytes(lent)).toEqual(block(1))
  })

  test('is one of a few: beyond those nothing is lent, writing goes on, and whoever gives back makes room', () => {
    const writer = new Writer()
    writer.write(1)
    const held: Lent[] = []
    while (held.length < 100) {
      writer.write(1)
      const lent = writer.lend(writer.written - 1)
      if (!lent) break
      held.push(lent)
    }
    // Four that are no longer kept, and with the last of them the three that were kept beside it.
    expect(held).toHaveLength(7)
    writer.write(50)
    expect(writer.lend(writer.written - 1)).toBeUndefined()
    for (const [index, lent] of held.entries()) expect(bytes(lent)).toEqual(block(index + 1))
    // The first, seven lent, four kept, one to write.
    expect(new Set(writer.used).size).toBeLessThanOrEqual(13)

    for (const { giveBack } of held) giveBack()
    expect(bytes(writer.lend(writer.written - 1))).toEqual(block(writer.written - 1))
  })
})
