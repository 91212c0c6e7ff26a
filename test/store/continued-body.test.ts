// A body that goes on elsewhere: every byte once, in order, and nothing left open.

import { expect, test } from 'vitest'

import { ContinuedBody } from '../../src/store/continued-body.ts'

class Body implements AsyncIterableIterator<Uint8Array> {
  returned = 0
  readonly #steps: (string | Error)[]

  constructor(...steps: (string | Error)[]) {
    this.#steps = steps
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<Uint8Array, undefined>> {
    const step = this.#steps.shift()
    if (step instanceof Error) return Promise.reject(step)
    return Promise.resolve(step === undefined ? { done: true, value: undefined } : { value: Buffer.from(step) })
  }

  return(): Promise<IteratorReturnResult<undefined>> {
    this.returned++
    return Promise.resolve({ done: true, value: undefined })
  }
}

async function text(body: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const part of body) parts.push(part)
  return Buffer.concat(parts).toString()
}

const broken = new Error('broken')

test('goes on at the byte where the first gave out, with what it gave out with', async () => {
  const asked: unknown[] = []
  const rest = (...words: unknown[]): Promise<Body> => {
    asked.push(words)
    return Promise.resolve(new Body('de', 'f'))
  }
  expect(await text(new ContinuedBody({ first: new Body('ab', 'c', broken), rest }))).toBe('abcdef')
  expect(asked).toEqual([[3, broken]])
})

test('breaks off when the rest does too, or there is none', async () => {
  const rest = (): Promise<Body> => Promise.resolve(new Body('b', new Error('again')))
  await expect(text(new ContinuedBody({ first: new Body('a', broken), rest }))).rejects.toThrow('again')
  const none = (): Promise<Body> => Promise.reject(broken)
  await expect(text(new ContinuedBody({ first: new Body('a', broken), rest: none }))).rejects.toThrow('broken')
})

test('lets go of the first also when it was never begun', async () => {
  const first = new Body('a')
  await new ContinuedBody({ first, rest: () => Promise.reject(broken) }).return()
  expect(first.returned).toBe(1)
})

test('lets go of a rest that comes when nobody waits any more', async () => {
  const late = new Body('b')
  const { promise, resolve } = later()
  const body = new ContinuedBody({ first: new Body(broken), rest: () => promise })
  const next = body.next()
  await new Promise(setImmediate)
  await body.return()
  resolve(late)
  expect(await next).toEqual({ done: true, value: undefined })
  expect(late.returned).toBe(1)
})

function later(): { promise: Promise<Body>; resolve: (body: Body) => void } {
  let resolve = (_body: Body): void => {}
  const promise = new Promise<Body>((settle) => (resolve = settle))
  return { promise, resolve }
}
