// Measure 3: a large NAR that everybody has, by one client and by eight at once.

import { download, narUrl, timed } from '../load.ts'
import { atLeast, type Measure } from '../measure.ts'
import { medians } from '../rounds.ts'
import { withAll } from './all-in-front.ts'

const mebibyte = 1024 * 1024

export const narHits: Measure = {
  number: 3,
  name: 'nar-hits',
  run: async (bench) => {
    const directory = await bench.scratch('nar-hits')
    const size = (bench.short ? 8 : 256) * mebibyte
    const entry = await bench.cache.nar(`hit-${size}`, size)
    return withAll(bench, directory, async (running) => {
      const urls: Record<string, URL> = { 'nginx static': new URL(entry.narPath, bench.still) }
      for (const [name, { url }] of Object.entries(running)) urls[name] = await narUrl(url, entry.hash)
      for (const url of Object.values(urls)) await timed(url)
      const speed = (clients: number) => (url: URL) => async () =>
        (clients * entry.narSize) /
        1e9 /
        (await download(
          Array.from({ length: clients }, () => url),
          entry.narSize,
        ))
      const figures = []
      for (const [clients, limit] of [
        [1, 0.8],
        [8, 0.7],
      ] as const) {
        const turns = Object.fromEntries(Object.entries(urls).map(([name, url]) => [name, speed(clients)(url)]))
        const values = await medians(2 * bench.rounds, turns)
        const ratio = (values['Substrata'] ?? 0) / (values['nginx static'] ?? 0)
        figures.push({
          what: `NAR hit of ${Math.round(entry.narSize / 1e6)} MB, ${clients === 1 ? 'one client' : `${clients} clients`}`,
          unit: 'GB/s',
          values,
          promise: atLeast('Substrata ÷ nginx static', ratio, limit),
        })
      }
      return figures
    })
  },
}
