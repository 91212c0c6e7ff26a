// Twelve power cuts, simulated (see support/power-cut.ts): whatever was promised before is there afterwards.

import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'

import { expect, onTestFinished, test } from 'vitest'

import { startScriptedUpstream } from '../support/scripted-upstream.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'
import { Load, randomBy, seedOf } from './support/load.ts'
import { cutPower } from './support/power-cut.ts'
import { inventory, Program, scratch } from './support/program.ts'

const cuts = 12

test('after a power cut everything that was committed or uploaded is there, and files and rows agree (case 121)', async () => {
  const random = randomBy(seedOf())
  const cache = new SyntheticCache()
  const upstream = await startScriptedUpstream({ cache })
  onTestFinished(() => upstream.close())
  const entries = Array.from({ length: 150 }, () =>
    cache.add({ content: randomBytes(Math.ceil(1000 * 200 ** random())) }),
  )
  const load = new Load({ cache, entries, random, content: () => randomBytes(Math.ceil(random() * 20_000)) })
  const dir = await scratch()
  const options = { store: join(dir, 'store'), upstream: upstream.url, key: cache.publicKey }
  const lost = { names: 0, bytes: 0, directories: 0, log: 0 }

  for (let cut = 0; cut <= cuts; cut++) {
    const journal = join(dir, `journal-${cut}`)
    await mkdir(`${journal}.removed`)
    // Half of them come after a stop in peace, since when the catalogue says that all is well.
    if (cut % 2 === 1) {
      const peaceful = await Program.start({ ...options, faults: { boot: `boot ${cut} in peace` } })
      await settled(peaceful)
      await peaceful.stop()
    }
    const program = await Program.start({ ...options, faults: { boot: `boot ${cut}`, journal } })
    await settled(program)

    const { files, rows, leftovers } = await inventory(options.store)
    expect(files, `files and rows after cut ${cut}`).toEqual(rows.flatMap((name) => [name, `${name}.narinfo`]).sort())
    expect(leftovers, `left behind by cut ${cut}`).toEqual([])
    expect(await load.lost(program, load.uploaded), `uploads lost by cut ${cut}`).toEqual([])
    expect(await load.lost(program, load.committed), `commits lost by cut ${cut}`).toEqual([])
    expect(load.wrong).toEqual([])

    let left = 2 + Math.floor(random() * 25)
    let reached = (): void => {}
    const enough = new Promise<void>((resolve) => (reached = resolve))
    const running = load.run(program, 8, () => {
      if (--left === 0) reached()
    })
    await enough
    await program.kill()
    await running
    const gone = await cutPower({ store: options.store, journal, random })
    for (const what of ['names', 'bytes', 'directories', 'log'] as const) lost[what] += gone[what]
    await rm(`${journal}.removed`, { recursive: true })
  }

  process.stdout.write(
    `${cuts} power cuts: ${load.committed.size} commits and ${load.uploaded.size} uploads kept; taken away: ${JSON.stringify(lost)}\n`,
  )
  expect(load.committed.size).toBeGreaterThan(30)
  // The cuts did take something.
  expect(lost.bytes).toBeGreaterThan(cuts / 4)
  expect(lost.log).toBeGreaterThan(cuts / 4)
})

/** Resolves when it has looked through its files. */
async function settled(program: Program): Promise<void> {
  while ((await program.json<{ store: { rebuilding: boolean } }>('')).store.rebuilding) await turn()
}
