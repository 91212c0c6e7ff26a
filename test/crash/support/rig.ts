// The program in front of an upstream that lets itself be watched, and what is promised of it while its disk is in trouble and after.

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'

import { expect, onTestFinished } from 'vitest'

import { startScriptedUpstream, type ScriptedUpstream } from '../../support/scripted-upstream.ts'
import { SyntheticCache, type SyntheticEntry } from '../../support/synthetic-cache.ts'
import { Program, scratch, type ProgramOptions } from './program.ts'

export interface Rig {
  readonly cache: SyntheticCache
  readonly upstream: ScriptedUpstream
  readonly program: Program
  readonly add: () => SyntheticEntry
}

export async function rig(more: Partial<ProgramOptions> = {}): Promise<Rig> {
  const cache = new SyntheticCache()
  const upstream = await startScriptedUpstream({ cache })
  onTestFinished(() => upstream.close())
  const store = more.store ?? join(await scratch(), 'store')
  const program = await Program.start({ upstream: upstream.url, key: cache.publicKey, ...more, store })
  return { cache, upstream, program, add: () => cache.add({ content: randomBytes(100_000) }) }
}

/** Asks for a path until it is on disk. */
export async function fetched({ program, add }: Rig): Promise<SyntheticEntry> {
  const entry = add()
  await expectServed(program, entry)
  await settled(program)
  expect(await isHeld(program, entry)).toBe(true)
  return entry
}

/** Resolves when nothing is being fetched. */
export async function settled(program: Program): Promise<void> {
  while ((await program.json<{ fills: unknown[] }>('')).fills.length > 0) await turn()
}

export async function expectServed(program: Program, entry: SyntheticEntry): Promise<void> {
  expect((await program.nar(entry.hash))?.equals(entry.file)).toBe(true)
}

export async function isHeld(program: Program, entry: SyntheticEntry): Promise<boolean> {
  const got = await program.nar(entry.hash, true)
  if (got) expect(got.equals(entry.file)).toBe(true)
  return got !== undefined
}

export async function state(program: Program): Promise<string> {
  return (await program.json<{ store: string }>('health')).store
}

/**
 * The trouble lasts: what is held is served without asking anybody, what is not is passed through, more than once, and one warning, the
 * metric and /health say so.
 */
export async function expectDegraded(
  { program, upstream, add }: Rig,
  held: SyntheticEntry,
  is: 'full' | 'failed',
  sinceStart = false,
): Promise<void> {
  const said = program.warnings().length
  const asked = upstream.count(held.narPath)
  for (let tries = 0; tries < 3; tries++) {
    const other = add()
    await expectServed(program, other)
    await expectServed(program, held)
    await settled(program)
  }
  expect(upstream.count(held.narPath)).toBe(asked)
  expect(await state(program)).toBe(is)
  // Whoever restarts what is not healthy must not stop what only keeps nothing new.
  expect((await program.get('health')).status).toBe(is === 'full' ? 200 : 503)
  expect((await program.get('ready')).status).toBe(200)
  expect(await program.metric('substrata_store_ok')).toBe(0)
  await expect
    .poll(() => program.metric('substrata_fills_total{outcome="unkept"}'), { timeout: 10_000 })
    .toBeGreaterThan(2)
  if (sinceStart) expect(program.warnings().length).toBe(said)
  else expect(program.warnings().slice(said)).toHaveLength(1)
}

/** The cause has gone: what is asked for is kept again. */
export async function expectHealed(rig: Rig): Promise<void> {
  const { program } = rig
  // What the file system has free is looked at once a second; the first to be kept again says that it works.
  await expect
    .poll(
      async () => {
        const entry = rig.add()
        await expectServed(program, entry)
        await settled(program)
        return isHeld(program, entry)
      },
      { timeout: 30_000 },
    )
    .toBe(true)
  await expect.poll(() => state(program), { timeout: 10_000 }).toBe('ok')
  expect(await program.metric('substrata_store_ok')).toBe(1)
}

/** The path of a NAR as its narinfo names it. */
export async function narUrl(program: Program, { hash }: SyntheticEntry): Promise<string> {
  const { body } = await program.get(`${hash}.narinfo`)
  return /^URL: (.*)$/m.exec(body.toString())?.[1] ?? ''
}
