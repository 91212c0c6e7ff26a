// Loaded into the proxy's process before its program (`--import`): says what it holds when it is asked over the channel of `fork`.

import { setImmediate, setTimeout } from 'node:timers/promises'
import { isMainThread } from 'node:worker_threads'

/** Every thread loads this file, and each has a heap of its own. */
const everybody = new BroadcastChannel('collect')
everybody.addEventListener('message', () => globalThis.gc?.())
everybody.unref()
/** Milliseconds for the other threads to collect. */
const collecting = 200

/**
 * @typedef {object} Held
 * @property {number} rss bytes
 * @property {number} heap bytes in use, after a collection
 * @property {number} outside bytes of buffers and native objects
 * @property {Readonly<Record<string, number>>} resources what keeps the process busy, by kind
 */

async function answer() {
  // Twice: what finalizers let go of is collected by the second one.
  for (let round = 0; round < 2; round += 1) {
    everybody.postMessage('collect')
    globalThis.gc?.()
    await setTimeout(collecting)
    await setImmediate()
  }
  const { rss, heapUsed, external } = process.memoryUsage()
  /** @type {Record<string, number>} */
  const resources = {}
  for (const kind of process.getActiveResourcesInfo()) resources[kind] = (resources[kind] ?? 0) + 1
  /** @type {Held} */
  const held = { rss, heap: heapUsed, outside: external, resources }
  process.send?.(held)
}

if (isMainThread) {
  process.on('message', () => {
    void answer()
  })
  process.channel?.unref()
}
