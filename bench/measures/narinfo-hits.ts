// Measure 1: narinfos that everybody has, asked for as fast as they come.

import { join } from 'node:path'

import { ask, fetchAll, writePaths } from '../load.ts'
import { atLeast, type Measure } from '../measure.ts'
import { medians, type Turns } from '../rounds.ts'
import { turnsOf, withAll } from './all-in-front.ts'

const connections = 64

export const narinfoHits: Measure = {
  number: 1,
  name: 'narinfo-hits',
  run: async (bench) => {
    const directory = await bench.scratch('narinfo-hits')
    const names = bench.short ? 200 : 2000
    const hashes = (await bench.cache.paths('hit', names)).map(({ hash }) => hash)
    const paths = await writePaths(join(directory, 'paths'), hashes)
    return withAll(bench, directory, async (running) => {
      const rate = async (url: URL): Promise<number> =>
        (await ask({ url, paths, order: 'turn', connections, seconds: bench.seconds })).rate
      for (const { url } of Object.values(running)) await fetchAll(url, hashes)
      const turns: Turns = { ...turnsOf(running, rate), 'nginx static': () => rate(bench.still) }
      // Once through without counting: compilers have compiled, caches are warm.
      for (const turn of Object.values(turns)) await turn(-1)
      const values = await medians(bench.rounds, turns)
      const ratio = (values['Substrata'] ?? 0) / (values['nginx static'] ?? 0)
      return [
        {
          what: `narinfo hits: ${names} names, ${connections} connections`,
          unit: '/s',
          values,
          promise: atLeast('Substrata ÷ nginx static', ratio, 0.5),
        },
      ]
    })
  },
}
