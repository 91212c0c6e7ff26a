// Measure 9: two hundred clients want the same large NAR at once, and nobody has it yet.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

import { substrata } from '../contestants.ts'
import { freePort } from '../free-port.ts'
import { narUrl, timed } from '../load.ts'
import { atMost, type Measure } from '../measure.ts'
import { startNginx } from '../nginx.ts'
import { run } from '../run.ts'
import { withRunning } from './all-in-front.ts'

const mebibyte = 1024 * 1024

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
    try {
      return await withRunning(
        bench,
        directory,
        [substrata()],
        async ({ Substrata }) => {
          if (!Substrata) return []
          const { url, process } = Substrata
          const nar = await narUrl(url, entry.hash)
          const before = performance.now()
          const many = Array.from({ length: clients }, () => ['-o', '/dev/null', nar.href]).flat()
          const all = run('curl', ['-sSf', '-Z', '--parallel-max', String(clients), '--parallel-immediate', ...many])
          const joined = await halfWay(url, entry.narSize / 2).then(() => timed(nar))
          await all
          const took = (performance.now() - before) / 1000
          if (joined.size !== entry.narSize) throw new Error(`${joined.size} of ${entry.narSize} bytes`)
          const sent = (await readFile(join(counted, 'sent'), 'utf8'))
            .split('\n')
            .reduce((sum, line) => sum + Number(line), 0)
          const most = process.mostResident() / mebibyte
          const rate = ((clients + 1) * entry.narSize) / 1e9 / took
          return [
            {
              what: `${clients} clients, one NAR of ${Math.round(entry.narSize / 1e6)} MB, cold: bytes from the upstream ÷ size`,
              unit: `(${rate.toFixed(1)} GB/s to all of them)`,
              values: { Substrata: sent / entry.narSize },
              promise: atMost('Substrata', sent / entry.narSize, 1.02),
            },
            {
              what: 'first byte of a client that joins half way',
              unit: 'ms',
              values: { Substrata: joined.first * 1000 },
              promise: atMost('Substrata', joined.first * 1000, 100, 'ms'),
            },
            {
              what: 'most resident memory',
              unit: 'MiB',
              values: { Substrata: most },
              promise: atMost('Substrata', most, 286, 'MiB'),
            },
          ]
        },
        new URL(`http://127.0.0.1:${port}/`),
      )
    } finally {
      await nginx.stop()
    }
  },
}

/** Resolves when so many bytes have come from the upstream. */
async function halfWay(url: URL, bytes: number): Promise<void> {
  for (;;) {
    const metrics = await (await fetch(new URL('metrics', url))).text()
    if (Number(/^substrata_filled_bytes_total (\S+)/m.exec(metrics)?.[1] ?? 0) >= bytes) return
    await delay(5)
  }
}
