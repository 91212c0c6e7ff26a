// Measure 9: two hundred clients want the same large NAR at once, and nobody has it yet.

import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

import type { Entry } from '../cache.ts'
import { substrata, type Running } from '../contestants.ts'
import { freePort } from '../free-port.ts'
import { narUrl, timed } from '../load.ts'
import { atMost, type Measure } from '../measure.ts'
import { startNginx } from '../nginx.ts'
import { median } from '../rounds.ts'
import { run } from '../run.ts'
import { withRunning } from './all-in-front.ts'

const mebibyte = 1024 * 1024

/** When another one begins, as parts of the NAR that are here. */
const joinAt = [0.4, 0.45, 0.5, 0.55, 0.6]

/** What one crowd was given. */
interface Served {
  /** Seconds until the last of them was served. */
  readonly took: number
  /** Milliseconds that each who joined waited for his first byte. */
  readonly waited: readonly number[]
  /** Bytes. */
  readonly mostResident: number
}

export const crowd: Measure = {
  number: 9,
  name: 'crowd',
  run: async (bench) => {
    const [clients, size] = bench.short ? [20, 8 * mebibyte] : [200, 477 * mebibyte]
    const directory = await bench.scratch('crowd')
    const entry = await bench.cache.nar(`crowd-${size}`, size)
    const port = await freePort()
    const counted = join(directory, 'nginx')
    const server = `root ${bench.cache.directory};`
    const nginx = await startNginx({ directory: counted, ports: [port], server, countBytes: true })
    const upstream = new URL(`http://127.0.0.1:${port}/`)
    try {
      const served: Served[] = []
      for (let round = 0; round < bench.rounds; round++) {
        const place = join(directory, String(round))
        await withRunning(
          bench,
          place,
          [substrata()],
          async ({ Substrata }) => {
            if (Substrata) served.push(await serve(Substrata, entry, clients))
          },
          upstream,
        )
        await rm(place, { recursive: true })
      }
      const sent = (await readFile(join(counted, 'sent'), 'utf8'))
        .split('\n')
        .reduce((sum, line) => sum + Number(line), 0)
      const fetched = sent / entry.narSize / bench.rounds
      const rate = ((clients + joinAt.length) * entry.narSize) / 1e9 / median(served.map(({ took }) => took))
      const waited = served.flatMap((each) => each.waited)
      const [first, longest] = [median(waited), Math.max(...waited)]
      const most = Math.max(...served.map(({ mostResident }) => mostResident)) / mebibyte
      return [
        {
          what: `${clients} clients, one NAR of ${Math.round(entry.narSize / 1e6)} MB, cold: bytes from the upstream ÷ size`,
          unit: `(${rate.toFixed(1)} GB/s to all of them)`,
          values: { Substrata: fetched },
          promise: atMost('Substrata', fetched, 1.02),
        },
        {
          what: 'first byte of a client that joins half way',
          unit: `ms (${waited.length} of them)`,
          values: { median: first, longest },
          promise: atMost('median', first, 100, 'ms'),
        },
        {
          what: 'most resident memory',
          unit: 'MiB',
          values: { Substrata: most },
          promise: atMost('Substrata', most, 286, 'MiB'),
        },
      ]
    } finally {
      await nginx.stop()
    }
  },
}

/** Sends them all at once, and a few more on the way. Rejects when one of these is not served the whole. */
async function serve({ url, process }: Running, { hash, narSize }: Entry, clients: number): Promise<Served> {
  const nar = await narUrl(url, hash)
  const before = performance.now()
  const many = Array.from({ length: clients }, () => ['-o', '/dev/null', nar.href]).flat()
  const all = run('curl', ['-sSf', '-Z', '--parallel-max', String(clients), '--parallel-immediate', ...many])
  const joined = await Promise.all(joinAt.map((part) => filled(url, part * narSize).then(() => timed(nar))))
  await all
  const took = (performance.now() - before) / 1000
  for (const { size } of joined) if (size !== narSize) throw new Error(`${size} of ${narSize} bytes`)
  return { took, waited: joined.map(({ first }) => first * 1000), mostResident: process.mostResident() }
}

/** Resolves when so many bytes have come from the upstream. */
async function filled(url: URL, bytes: number): Promise<void> {
  for (;;) {
    const metrics = await (await fetch(new URL('metrics', url))).text()
    if (Number(/^substrata_filled_bytes_total (\S+)/m.exec(metrics)?.[1] ?? 0) >= bytes) return
    await delay(5)
  }
}
