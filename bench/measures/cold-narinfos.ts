// Measure 7: narinfos that were never asked for before, through one upstream, their signatures checked.

import { join } from 'node:path'

import { ask, writePaths, type AskOptions } from '../load.ts'
import { atLeast, atMost, type Measure } from '../measure.ts'
import { medians } from '../rounds.ts'
import { turnsOf, withAll } from './all-in-front.ts'

const connections = 64

export const coldNarinfos: Measure = {
  number: 7,
  name: 'cold-narinfos',
  run: async (bench) => {
    const directory = await bench.scratch('cold-narinfos')
    const seconds = bench.short ? 1 : 2
    const [many, few] = bench.short ? [5000, 2000] : [50_000, 20_000]
    /** Names that nobody has heard of before this round. */
    const fresh = async (count: number, round: number): Promise<string> => {
      const entries = await bench.cache.paths(`cold-${count}-${round}`, count)
      return writePaths(
        join(directory, `paths-${count}-${round}`),
        entries.map(({ hash }) => hash),
      )
    }
    /** Asks for such names only; where they do not last, again for twice as many others. */
    const cold = async (url: URL, round: number, first: number, load: Pick<AskOptions, 'connections' | 'seconds'>) => {
      for (let count = first; ; count *= 2) {
        const asked = await ask({ url, paths: await fresh(count, round), order: 'once', ...load })
        if (!asked.usedUp) return asked
      }
    }
    return withAll(bench, directory, async (running) => {
      const rate = async (url: URL, round: number): Promise<number> =>
        (await cold(url, round, many, { connections, seconds })).rate
      const one = async (url: URL, round: number): Promise<number> =>
        (await cold(url, round, few, { connections: 1, seconds: 1 })).p50
      // Not counted: compilers have compiled.
      for (const { url } of Object.values(running)) await rate(url, -1)
      const rates = await medians(bench.rounds, {
        direct: async (round) => {
          const paths = await fresh(many, round)
          return (await ask({ url: bench.still, paths, order: 'turn', connections, seconds })).rate
        },
        ...turnsOf(running, rate),
      })
      const times = await medians(bench.rounds, {
        direct: async (round) => {
          const paths = await fresh(few, round)
          return (await ask({ url: bench.still, paths, order: 'turn', connections: 1, seconds: 1 })).p50
        },
        ...turnsOf(running, one),
      })
      const added = (times['Substrata'] ?? 0) - (times['direct'] ?? 0)
      return [
        {
          what: `cold narinfos, one upstream, ${connections} connections`,
          unit: '/s',
          values: rates,
          promise: atLeast('Substrata', rates['Substrata'] ?? 0, 4000, '/s'),
        },
        {
          what: 'p50 of a cold narinfo, one connection',
          unit: 'ms',
          values: times,
          promise: atMost('Substrata − direct', added, 1.5, 'ms'),
        },
      ]
    })
  },
}
