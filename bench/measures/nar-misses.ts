// Measures 4, 5 and 6: a large NAR that nobody has yet. How much later does it arrive than straight from the upstream, and how much is
// written to the disk for it?

import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

import type { Entry } from '../cache.ts'
import { nginxProxyCache, substrata, type Contestant } from '../contestants.ts'
import { narUrl, timed } from '../load.ts'
import { atMost, type Bench, type Measure } from '../measure.ts'
import { memoryAtHand } from '../memory.ts'
import { medians } from '../rounds.ts'
import { run } from '../run.ts'
import { withWire } from '../wire.ts'
import { withRunning } from './all-in-front.ts'

const mebibyte = 1024 * 1024

const sizeOf = (bench: Bench): number => (bench.short ? 8 : 256) * mebibyte
const labelOf = (bench: Bench): string => `NAR miss of ${Math.round(sizeOf(bench) / 1e6)} MB`

async function large(bench: Bench): Promise<Entry> {
  const size = sizeOf(bench)
  return bench.cache.nar(`miss-${size}`, size)
}

/** Seconds to the last byte, each time through an empty cache that has just been started. */
function cold(bench: Bench, directory: string, entry: Entry, upstream: URL) {
  let turn = 0
  return (contestant: Contestant) => async (): Promise<number> => {
    const mine = join(directory, String(turn++))
    const took = await withRunning(
      bench,
      mine,
      [contestant],
      async (running) => {
        const url = await narUrl(running[contestant.name]?.url ?? upstream, entry.hash)
        // A wire is slower than any memory, and its connections are not to grow cold.
        if (upstream === bench.origin) await memoryAtHand()
        const { last, size } = await timed(url)
        if (size !== entry.narSize) throw new Error(`${contestant.name}: ${size} of ${entry.narSize} bytes`)
        return last
      },
      upstream,
    )
    await rm(mine, { recursive: true, force: true })
    // The disk is busy with it for a while: that is not the next one's fault.
    await run('sync', [])
    return took
  }
}

async function misses(bench: Bench, upstream: URL): Promise<Record<string, number>> {
  const directory = await bench.scratch('nar-miss')
  const entry = await large(bench)
  const through = cold(bench, directory, entry, upstream)
  const direct = async (): Promise<number> => (await timed(new URL(entry.narPath, upstream))).last
  await direct()
  const turns = Object.fromEntries(
    [substrata(), nginxProxyCache(), ...bench.others].map((contestant) => [contestant.name, through(contestant)]),
  )
  return medians(bench.rounds, { direct, ...turns })
}

export const shapedNarMiss: Measure = {
  number: 4,
  name: 'shaped-nar-miss',
  run: (bench) =>
    withWire(bench, async (upstream) => {
      const values = await misses(bench, upstream)
      return [
        {
          what: `${labelOf(bench)} over a wire of 1 Gbit/s, to the last byte`,
          unit: 's',
          values,
          promise: atMost('Substrata ÷ direct', (values['Substrata'] ?? 0) / (values['direct'] ?? 0), 1.02),
        },
      ]
    }),
}

export const narMiss: Measure = {
  number: 5,
  name: 'nar-miss',
  run: async (bench) => {
    const values = await misses(bench, bench.origin)
    return [
      {
        what: `${labelOf(bench)} over loopback, to the last byte`,
        unit: 's',
        values,
        promise: atMost('Substrata ÷ proxy_cache', (values['Substrata'] ?? 0) / (values['proxy_cache'] ?? 0), 1),
      },
    ]
  },
}

export const bytesWritten: Measure = {
  number: 6,
  name: 'bytes-written',
  run: async (bench) => {
    const directory = await bench.scratch('bytes-written')
    const entry = await large(bench)
    const values: Record<string, number> = {}
    for (const contestant of [substrata(), nginxProxyCache(), ...bench.others]) {
      await withRunning(bench, directory, [contestant], async (running) => {
        const one = running[contestant.name]
        if (!one) return
        const before = one.process.written()
        await timed(await narUrl(one.url, entry.hash))
        // Until it has been proved, committed and written down.
        await delay(bench.short ? 500 : 5000)
        values[contestant.name] = (one.process.written() - before) / entry.narSize
      })
    }
    return [
      {
        what: 'bytes written to the disk on a miss, for each byte of the NAR',
        unit: '',
        values,
        promise: atMost('Substrata', values['Substrata'] ?? Number.NaN, 1.02),
      },
    ]
  },
}
