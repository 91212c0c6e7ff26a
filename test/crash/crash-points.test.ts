// The program killed at every single step of a commit, an upload and an eviction, one after the other.

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'

import { expect, onTestFinished, test } from 'vitest'

import { startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { SyntheticCache, type SyntheticEntry } from '../support/synthetic-cache.ts'
import { upload } from './support/load.ts'
import { inventory, Program, scratch } from './support/program.ts'

/** More steps than any of them has: the loop ends when nothing died. */
const mostSteps = 60

interface Rig {
  readonly cache: SyntheticCache
  readonly upstream: ScriptedUpstream
  readonly start: (faults: object) => Promise<Program>
}

async function rig(limits = ''): Promise<Rig> {
  const cache = new SyntheticCache()
  const upstream = await startScriptedUpstream({ cache })
  onTestFinished(() => upstream.close())
  const store = join(await scratch(), 'store')
  return {
    cache,
    upstream,
    start: (faults) => Program.start({ store, upstream: upstream.url, key: cache.publicKey, limits, faults }),
  }
}

/** What it was about to do when it died. */
function lastStep({ output }: Program): string | undefined {
  return /faults: dying before (.*)/.exec(output)?.[1]
}

/** Resolves when nothing is being fetched, rejects when it dies over it. */
async function quiet(program: Program): Promise<void> {
  while ((await program.json<{ fills: unknown[] }>('')).fills.length > 0) await turn()
}

/** Every NAR has its narinfo and its row, and nothing else lies about. */
async function expectTidy({ store }: Program): Promise<readonly string[]> {
  const { files, rows, leftovers } = await inventory(store)
  expect(leftovers).toEqual([])
  expect(files).toEqual(rows.flatMap((name) => [name, `${name}.narinfo`]).sort())
  return rows
}

/**
 * Kills the program before step 1, 2, 3 … of what `act` has it do, until it gets to the end. Each program looks after what the one before
 * it has left.
 */
async function atEachStep(
  { start }: Pick<Rig, 'start'>,
  act: (program: Program, step: number) => Promise<void>,
  check: (program: Program, died: string) => Promise<void>,
): Promise<readonly string[]> {
  const steps: string[] = []
  for (let step = 1; step <= mostSteps; step++) {
    const program = await start({})
    const before = steps.at(-1)
    if (before !== undefined) await check(program, before)
    await quiet(program)
    await program.order({ dieAt: step })
    await act(program, step).catch(() => {})
    const died = lastStep(program)
    if (died === undefined && !program.dead) {
      await program.kill()
      return steps
    }
    await program.gone()
    steps.push(lastStep(program) ?? 'unknown')
  }
  throw new Error('it never got to the end')
}

/** Whether a step comes after the row, from which on the entry is there for good. */
function isAfterRow(steps: readonly string[]): boolean {
  return steps.some((step) => step.includes('INSERT INTO entries'))
}

test('killed before any step of a commit, an entry is whole or not there, and nothing is left lying about (cases 121, 122)', async () => {
  const { cache, start } = await rig()
  const seen: string[] = []
  const entries: SyntheticEntry[] = []
  const steps = await atEachStep(
    { start },
    async (program) => {
      const entry = cache.add({ content: randomBytes(50_000), compression: 'zstd' })
      entries.push(entry)
      await program.nar(entry.hash)
      await quiet(program)
    },
    async (program, died) => {
      const rows = await expectTidy(program)
      const entry = entries.at(-1)
      const isThere = rows.some((name) => name.startsWith(entry?.hash ?? '?'))
      const before = isAfterRow(seen)
      seen.push(died)
      // What had its row before it died is there; what had not got its name is not.
      if (before) expect(isThere, died).toBe(true)
      if (!seen.some((step) => step.startsWith('rename'))) expect(isThere, died).toBe(false)
      for (const { hash, file } of entries) expect((await program.nar(hash))?.equals(file), died).toBe(true)
    },
  )
  const words = steps.map((step) => step.split(' ')[0])
  process.stdout.write(`commit: killed before each of ${steps.length} steps: ${words.join(' ')}\n`)
  expect(words).toEqual(expect.arrayContaining(['open', 'write', 'datasync', 'rename', 'sync', 'run', 'unlink']))
})

test('killed before any step of an upload, what was confirmed is there, and the rest can be sent again', async () => {
  const { cache, upstream, start } = await rig()
  const entries: { readonly entry: SyntheticEntry; readonly confirmed: boolean }[] = []
  const steps = await atEachStep(
    { start },
    async (program) => {
      const entry = cache.add({ content: randomBytes(20_000) })
      // Nobody else has it.
      cache.remove(entry.narinfoPath)
      cache.remove(entry.narPath)
      let confirmed = false
      try {
        confirmed = await upload(program, entry)
      } finally {
        entries.push({ entry, confirmed })
      }
    },
    async (program, died) => {
      await expectTidy(program)
      const { entry, confirmed } = entries.at(-1) ?? {}
      if (!entry) throw new Error('nothing was sent')
      const got = await program.nar(entry.hash, true)
      if (confirmed === true || got) expect(got?.equals(entry.file), died).toBe(true)
      if (!got) expect(await upload(program, entry), died).toBe(true)
      for (const { entry } of entries)
        expect((await program.nar(entry.hash, true))?.equals(entry.file), died).toBe(true)
    },
  )
  process.stdout.write(`upload: killed before each of ${steps.length} steps\n`)
  expect(steps.length).toBeGreaterThan(10)
  expect(upstream.count(/\.nar/)).toBe(0)
})

test('killed before any step of an eviction, what is not evicted is served, and nothing half is left', async () => {
  // Room for five; the sixth pushes the oldest out.
  const { cache, start } = await rig('max_size = "500KB"')
  const entries: SyntheticEntry[] = []
  const fill = async (program: Program): Promise<void> => {
    const entry = cache.add({ content: randomBytes(90_000) })
    entries.push(entry)
    expect((await program.nar(entry.hash))?.equals(entry.file)).toBe(true)
    await quiet(program)
  }
  const first = await start({})
  for (let count = 0; count < 5; count++) await fill(first)
  await first.kill()
  const steps = await atEachStep({ start }, fill, async (program, died) => {
    expect((await expectTidy(program)).length, died).toBeGreaterThan(0)
    for (const { hash, file } of entries.slice(-6)) expect((await program.nar(hash))?.equals(file), died).toBe(true)
    // As many as there is room for again, so that the next one evicts.
    while ((await program.json<{ store: { bytes: number } }>('')).store.bytes < 400_000) await fill(program)
  })
  process.stdout.write(`eviction: killed before each of ${steps.length} steps\n`)
  expect(steps).toEqual(
    expect.arrayContaining([
      expect.stringMatching(/^unlink .*\.nar$/),
      expect.stringMatching(/UPDATE entries SET size/),
    ]),
  )
})
