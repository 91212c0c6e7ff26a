// Measure 13: how late the event loop is while much goes on at once: eight NARs stream, one is fetched and proved, narinfos are served.

import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

import { substrata } from '../contestants.ts'
import { askSteadily, fetchAll, narUrl, timed, writePaths } from '../load.ts'
import { atMost, type Measure } from '../measure.ts'
import { median } from '../rounds.ts'
import { withRunning } from './all-in-front.ts'

const mebibyte = 1024 * 1024
const rate = 1000
const streams = 8

export const eventLoop: Measure = {
  number: 13,
  name: 'event-loop',
  run: async (bench) => {
    const directory = await bench.scratch('event-loop')
    const size = (bench.short ? 8 : 256) * mebibyte
    const held = await bench.cache.nar(`hit-${size}`, size)
    const coming = await bench.cache.nar(`miss-${size}`, size)
    const hashes = (await bench.cache.paths('hit', bench.short ? 200 : 2000)).map(({ hash }) => hash)
    const paths = await writePaths(join(directory, 'paths'), hashes)
    const seconds = bench.short ? 2 : 10
    const imports = [join(import.meta.dirname, '..', 'loop-delay.js')]
    const late: number[] = []
    const answers: number[] = []
    for (let round = 0; round < bench.rounds; round++) {
      const mine = join(directory, String(round))
      const file = join(directory, `${round}.json`)
      process.env['LOOP_DELAY'] = file
      await withRunning(bench, mine, [substrata({ imports })], async ({ Substrata }) => {
        if (!Substrata) return
        const { url } = Substrata
        await fetchAll(url, hashes)
        const nar = await narUrl(url, held.hash)
        await timed(nar)
        const until = performance.now() + seconds * 1000
        Substrata.process.signal('SIGUSR2')
        const stream = async (): Promise<void> => {
          while (performance.now() < until) await timed(nar)
        }
        const paced = askSteadily(url, { paths, rate, seconds })
        const all = Promise.all([...Array.from({ length: streams }, stream), paced])
        await timed(await narUrl(url, coming.hash))
        const [answer] = await Promise.all([paced, all])
        Substrata.process.signal('SIGUSR2')
        while (!existsSync(file)) await delay(10)
        const { p99 } = JSON.parse(await readFile(file, 'utf8')) as { p99: number }
        late.push(p99)
        answers.push(answer.p99)
      })
    }
    return [
      {
        what: `event loop late, p99, while ${streams} NARs stream, one is fetched and proved, ${rate} narinfos a second`,
        unit: 'ms',
        values: { Substrata: median(late) },
        promise: atMost('Substrata', median(late), 20, 'ms'),
      },
      { what: 'p99 of those narinfos', unit: 'ms', values: { Substrata: median(answers) } },
    ]
  },
}
