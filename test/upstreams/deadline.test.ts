import { expect, test } from 'vitest'

import { within } from '../../src/upstreams/deadline.ts'

const untilStopped = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => {
    const stop = (): void => reject(signal.reason as Error)
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop)
  })

test('what takes too long is stopped with a timeout', async () => {
  await expect(within(5, new AbortController().signal, untilStopped)).rejects.toMatchObject({ code: 'timeout' })
})

test('who has gone, before or meanwhile, stops it with the same reason', async () => {
  const reason = new Error('gone')
  await expect(within(60_000, AbortSignal.abort(reason), untilStopped)).rejects.toBe(reason)
  const controller = new AbortController()
  const stopped = expect(within(60_000, controller.signal, untilStopped)).rejects.toBe(reason)
  controller.abort(reason)
  await stopped
})

test('what is done in time is left alone, and so is what comes after', async () => {
  const controller = new AbortController()
  let inner: AbortSignal | undefined
  const done = await within(60_000, controller.signal, async (signal) => {
    inner = signal
    return 'done'
  })
  controller.abort()
  expect([done, inner?.aborted]).toEqual(['done', false])
})
