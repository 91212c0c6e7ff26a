// The program killed with -9 fifty times at random moments while clients fill, read, upload and have things evicted: no wrong byte is
// served, nothing that was promised is lost, nothing is left lying about, and no start looks through the whole store.

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

import { expect, onTestFinished, test } from 'vitest'

import { startScriptedUpstream } from '../support/scripted-upstream.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'
import { Load, randomBy, seedOf } from './support/load.ts'
import { inventory, Program, scratch } from './support/program.ts'

/** Clients at once. */
const clients = 12
/** Answers after which it is killed at the earliest and at the latest, and milliseconds on top. */
const [fewest, most, longest] = [3, 60, 40]

test.each([
  { kills: 25, what: 'a store that keeps everything', limits: '', evicts: false },
  // About a third of what is asked for fits, and all that is uploaded.
  { kills: 25, what: 'a store that evicts', limits: 'max_size = "6MB"', evicts: true },
])('$kills kills of $what', async ({ kills, limits, evicts }) => {
  const random = randomBy(seedOf())
  const cache = new SyntheticCache()
  const upstream = await startScriptedUpstream({ cache })
  onTestFinished(() => upstream.close())
  const entries = Array.from({ length: 250 }, (_, index) =>
    cache.add({
      content: randomBytes(Math.ceil(1000 * 600 ** random())),
      compression: (['none', 'zstd', 'gzip'] as const)[index % 3] ?? 'none',
    }),
  )
  const load = new Load({ cache, entries, random, content: () => randomBytes(Math.ceil(random() * 20_000)) })
  const options = { store: join(await scratch(), 'store'), upstream: upstream.url, key: cache.publicKey, limits }
  const starts: number[] = []
  const count = { committed: 0, uploads: 0, filled: 0, evictions: 0, leftBehind: 0 }

  for (let kill = 0; kill <= kills; kill++) {
    const program = await Program.start(options)
    starts.push(program.startedIn)

    const { files, rows, leftovers } = await inventory(options.store)
    expect(leftovers, `left behind by kill ${kill}`).toEqual([])
    expect(files, `files and rows after kill ${kill}`).toEqual(rows.flatMap((name) => [name, `${name}.narinfo`]).sort())
    expect(await program.json('')).toMatchObject({ store: { rebuilding: false, state: 'ok', nars: rows.length } })
    expect(await load.lost(program, load.uploaded), `uploads lost by kill ${kill}`).toEqual([])
    if (!evicts) expect(await load.lost(program, load.committed), `commits lost by kill ${kill}`).toEqual([])
    expect(load.wrong).toEqual([])
    if (kill === kills) break

    const { over } = await load.begin(program, clients, fewest + Math.floor(random() * (most - fewest)))
    count.filled += await program.metric('substrata_fills_total{outcome="committed"}')
    count.evictions += await program.metric('substrata_evictions_total')
    await delay(random() * longest)
    await program.kill()
    await over
    const after = await inventory(options.store)
    count.leftBehind += after.leftovers.length + Math.abs(after.files.length - 2 * after.rows.length)
  }

  count.committed = load.committed.size
  count.uploads = load.uploaded.size
  starts.sort((a, b) => a - b)
  const [median, slowest] = [starts[Math.floor(starts.length / 2)] ?? 0, starts.at(-1) ?? 0]
  process.stdout.write(
    `${kills} kills: ${load.answers} answers, none wrong; ${JSON.stringify(count)}; starts ${median.toFixed()} ms median, ${slowest.toFixed()} ms at most\n`,
  )
  expect(count.committed).toBeGreaterThan(evicts ? 0 : 100)
  expect(count.uploads).toBeGreaterThan(50)
  // The kills did come in the middle of something.
  expect(count.leftBehind).toBeGreaterThan(kills / 5)
  if (evicts) expect(count.evictions).toBeGreaterThan(0)
})
