import { expect, test } from 'vitest'

import { Gate } from '../../src/upstreams/gate.ts'

const never = new AbortController().signal

/** Lets everything that is ready run. */
const settle = () => new Promise((resolve) => setImmediate(resolve))

test('case 12: so many are inside at once, the others follow in the order they came', async () => {
  const gate = new Gate({ limit: 2 })
  const entered: number[] = []
  const leaves: (() => void)[] = []
  for (const n of [1, 2, 3, 4]) {
    void gate.enter(never).then((leave) => {
      entered.push(n)
      leaves.push(leave)
    })
  }
  await settle()
  expect(entered).toEqual([1, 2])
  leaves[1]!()
  await settle()
  expect(entered).toEqual([1, 2, 3])
  leaves[0]!()
  await settle()
  expect(entered).toEqual([1, 2, 3, 4])
})

test('leaving twice gives away one place', async () => {
  const gate = new Gate({ limit: 1 })
  const leave = await gate.enter(never)
  leave()
  leave()
  await gate.enter(never)
  let second = false
  void gate.enter(never).then(() => {
    second = true
  })
  await settle()
  expect(second).toBe(false)
})

test('who gives up waiting gets the reason, and its place in the line goes to the next', async () => {
  const gate = new Gate({ limit: 1 })
  const leave = await gate.enter(never)
  const hasty = new AbortController()
  const reason = new Error('enough')
  const gaveUp = expect(gate.enter(hasty.signal)).rejects.toBe(reason)
  const patient = gate.enter(never)
  hasty.abort(reason)
  await gaveUp
  leave()
  await patient
})

test('who has given up before is not let in', async () => {
  const gate = new Gate({ limit: 1 })
  await expect(gate.enter(AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone')
  await gate.enter(never)
})

test('a place that is handed on is not given to a latecomer', async () => {
  const gate = new Gate({ limit: 1 })
  const leave = await gate.enter(never)
  const order: string[] = []
  const first = gate.enter(never).then(() => order.push('waiting'))
  leave()
  void gate.enter(never).then(() => order.push('latecomer'))
  await first
  await settle()
  expect(order).toEqual(['waiting'])
})
