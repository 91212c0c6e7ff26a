// Power cuts, simulated (see support/power-cut.ts): whatever was promised before is there afterwards.

import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'

import { expect, onTestFailed, onTestFinished, test } from 'vitest'

import { startScriptedUpstream } from '../support/scripted-upstream.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'
import { Load, randomBy, seedOf } from './support/load.ts'
import { cutPower, type Lost } from './support/power-cut.ts'
import { inventory, Program, type Inventory, scratch } from './support/program.ts'

const cuts = 6
const clients = 8
/** Answers after which the power is cut at the earliest and at the latest, and milliseconds on top. */
const [fewest, most, longest] = [3, 50, 40]

test.each([
  { what: 'a store that keeps everything', limits: '', evicts: false },
  // About a third of what is asked for fits, and all that is uploaded.
  { what: 'a store that evicts', limits: 'max_size = "2MB"', evicts: true },
])(
  'after a power cut everything that was committed or uploaded is there, and files and rows agree: $what (case 121)',
  async ({ limits, evicts }) => {
    const seed = seedOf()
    const random = randomBy(seed)
    const cache = new SyntheticCache()
    const upstream = await startScriptedUpstream({ cache })
    onTestFinished(() => upstream.close())
    const entries = Array.from({ length: 150 }, () =>
      cache.add({ content: randomBytes(Math.ceil(1000 * 200 ** random())) }),
    )
    const load = new Load({ cache, entries, random, content: () => randomBytes(Math.ceil(random() * 20_000)) })
    const dir = await scratch()
    const options = { store: join(dir, 'store'), upstream: upstream.url, key: cache.publicKey, limits }
    const count = { committed: 0, uploads: 0, evictions: 0, names: 0, made: 0, bytes: 0, log: 0 }
    let lost: Lost | undefined
    onTestFailed(() => void process.stderr.write(`the last cut took away ${JSON.stringify(lost, null, 1)}\n`))

    for (let cut = 0; cut <= cuts; cut++) {
      const journal = join(dir, `journal-${cut}`)
      await mkdir(`${journal}.removed`)
      // Half of them come after a stop in peace, since when the catalogue says that all is well.
      if (cut % 2 === 1) {
        const peaceful = await Program.start({ ...options, faults: { boot: `boot ${cut} in peace` } })
        await settled(peaceful)
        await peaceful.stop()
      }
      const faults = { boot: `boot ${cut}`, journal }
      const program = await Program.start({ ...options, faults })
      await settled(program)

      const { files, rows, leftovers } = await atRest(options.store)
      expect(files, `files and rows after cut ${cut}`).toEqual(rows.flatMap((name) => [name, `${name}.narinfo`]).sort())
      expect(leftovers, `left behind by cut ${cut}`).toEqual([])
      expect(await load.lost(program, load.uploaded), `uploads lost by cut ${cut}`).toEqual([])
      if (!evicts) expect(await load.lost(program, load.committed), `commits lost by cut ${cut}`).toEqual([])
      expect(load.wrong).toEqual([])
      if (cut === cuts) break

      // Its own numbers: how many the clients have taken depends on who came first.
      const own = randomBy(seed + 1 + cut)
      count.evictions += await usedAndKilled(program, load, own)
      // Some cuts come after a kill alone: then the next program relies on what that one did not wait for.
      if (cut % 3 === 2) {
        count.evictions += await usedAndKilled(await Program.start({ ...options, faults }), load, own)
      }
      lost = await cutPower({ store: options.store, journal, random: own })
      for (const what of ['names', 'made', 'bytes', 'log'] as const) count[what] += lost[what].length
      await rm(`${journal}.removed`, { recursive: true })
    }

    count.committed = load.committed.size
    count.uploads = load.uploaded.size
    process.stdout.write(`${cuts} power cuts: ${load.answers} answers, none wrong; ${JSON.stringify(count)}\n`)
    expect(count.committed).toBeGreaterThan(10)
    expect(count.uploads).toBeGreaterThan(cuts / 2)
    // The cuts did take something.
    expect(count.names).toBeGreaterThan(cuts)
    expect(count.bytes).toBeGreaterThan(0)
    expect(count.log).toBeGreaterThan(cuts / 4)
    if (evicts) expect(count.evictions).toBeGreaterThan(0)
  },
)

/** Resolves when it has looked through its files. */
async function settled(program: Program): Promise<void> {
  const rebuilding = async (): Promise<boolean> =>
    (await program.json<{ store: { rebuilding: boolean } }>('')).store.rebuilding
  while (await rebuilding()) await turn()
}

/** What is there when nothing changes any more: files that a cut has brought back are too much, and evicted behind the first answers. */
async function atRest(store: string): Promise<Inventory> {
  for (let before = await inventory(store); ;) {
    await delay(50)
    const after = await inventory(store)
    if (isDeepStrictEqual(before, after)) return after
    before = after
  }
}

/** Has it used for a while, and kills it with -9; the result is the number of its evictions. */
async function usedAndKilled(program: Program, load: Load, random: () => number): Promise<number> {
  const { over } = await load.begin(program, clients, fewest + Math.floor(random() * (most - fewest)))
  const evictions = await program.metric('substrata_evictions_total')
  await delay(random() * longest)
  await program.kill()
  await over
  return evictions
}
