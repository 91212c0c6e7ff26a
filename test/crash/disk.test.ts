// The whole program on a disk that is full, read-only or failing, with files altered under it: what is cached is served, what is not is
// passed through, the operator hears of it once, and it passes by itself.

import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'

import { expect, onTestFinished, test } from 'vitest'

import { describeUnless } from '../support/needs.ts'
import { startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { SyntheticCache, type SyntheticEntry } from '../support/synthetic-cache.ts'
import { Program, scratch, type ProgramOptions } from './support/program.ts'

interface Rig {
  readonly cache: SyntheticCache
  readonly upstream: ScriptedUpstream
  readonly program: Program
  readonly add: () => SyntheticEntry
}

async function rig(more: Partial<ProgramOptions> = {}): Promise<Rig> {
  const cache = new SyntheticCache()
  const upstream = await startScriptedUpstream({ cache })
  onTestFinished(() => upstream.close())
  const store = more.store ?? join(await scratch(), 'store')
  const program = await Program.start({ upstream: upstream.url, key: cache.publicKey, ...more, store })
  return { cache, upstream, program, add: () => cache.add({ content: randomBytes(100_000) }) }
}

/** Asks for a path until it is on disk. */
async function fetched({ program, add }: Rig): Promise<SyntheticEntry> {
  const entry = add()
  await expectServed(program, entry)
  while ((await program.json<{ fills: unknown[] }>('')).fills.length > 0) await turn()
  expect(await isHeld(program, entry)).toBe(true)
  return entry
}

async function expectServed(program: Program, entry: SyntheticEntry): Promise<void> {
  expect((await program.nar(entry.hash))?.equals(entry.file)).toBe(true)
}

async function isHeld(program: Program, entry: SyntheticEntry): Promise<boolean> {
  const got = await program.nar(entry.hash, true)
  if (got) expect(got.equals(entry.file)).toBe(true)
  return got !== undefined
}

async function state(program: Program): Promise<string> {
  return (await program.json<{ store: string }>('health')).store
}

/**
 * The trouble lasts: what is held is served without asking anybody, what is not is passed through, more than once, and one warning, the
 * metric and /health say so.
 */
async function expectDegraded(
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
    while ((await program.json<{ fills: unknown[] }>('')).fills.length > 0) await turn()
  }
  expect(upstream.count(held.narPath)).toBe(asked)
  expect(await state(program)).toBe(is)
  expect(await program.metric('substrata_store_ok')).toBe(0)
  await expect.poll(() => program.metric('substrata_fills_total{outcome="unkept"}')).toBeGreaterThan(2)
  if (sinceStart) expect(program.warnings().length).toBe(said)
  else expect(program.warnings().slice(said)).toHaveLength(1)
}

/** The cause has gone: what is asked for is kept again. */
async function expectHealed(rig: Rig): Promise<void> {
  const { program } = rig
  // What the file system has free is looked at once a second; the first to be kept again says that it works.
  await expect
    .poll(
      async () => {
        const entry = rig.add()
        await expectServed(program, entry)
        while ((await program.json<{ fills: unknown[] }>('')).fills.length > 0) await turn()
        return isHeld(program, entry)
      },
      { timeout: 30_000 },
    )
    .toBe(true)
  await expect.poll(() => state(program), { timeout: 10_000 }).toBe('ok')
  expect(await program.metric('substrata_store_ok')).toBe(1)
}

function lackOfNamespace(): string | undefined {
  const tried = spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'none', '/mnt'])
  return tried.status === 0 ? undefined : 'no right to unshare and mount'
}

describeUnless(lackOfNamespace(), 'on a file system of its own', () => {
  function mount(pid: number, ...words: readonly string[]): void {
    const done = spawnSync('nsenter', ['-t', String(pid), '-m', 'mount', ...words], { encoding: 'utf8' })
    if (done.status !== 0) throw new Error(done.stderr)
  }

  test('a full disk: hits are hits, misses are passed through, and it passes (cases 119, 120)', async () => {
    const disk = await scratch()
    const before = `mount -t tmpfs -o size=8m none ${disk}; mkdir ${disk}/store;`
    const all = await rig({ store: join(disk, 'store'), before, unshared: true })
    const held = await fetched(all)
    // That directory as we see it from outside of its namespace.
    const ballast = `/proc/${all.program.pid}/root${disk}/ballast`
    for (const bytes of [65_536, 4096]) {
      while (
        await writeFile(ballast, Buffer.alloc(bytes), { flag: 'a' }).then(
          () => true,
          () => false,
        )
      ) {
        // More.
      }
    }
    await expectDegraded(all, held, 'full')
    await rm(ballast)
    await expectHealed(all)
    // Here still, or it had to make room.
    expect((await all.program.nar(held.hash))?.equals(held.file)).toBe(true)
  })

  test('a read-only disk: hits are hits, misses are passed through, and it passes (case 120)', async () => {
    // The kernel lets nobody take the writing away from a program that has files open for it: it starts on such a disk.
    const first = await rig()
    const held = await fetched(first)
    await first.program.stop()
    const { store } = first.program
    const before = `mount --bind ${store} ${store}; mount -o remount,bind,ro ${store};`
    const options = { store, upstream: first.upstream.url, key: first.cache.publicKey }
    const all = { ...first, program: await Program.start({ ...options, before, unshared: true }) }
    await expectDegraded(all, held, 'failed', true)
    mount(all.program.pid, '-o', 'remount,bind,rw', store)
    await expectHealed(all)
    expect(await isHeld(all.program, held)).toBe(true)
  })
})

test.each([
  ['EIO', 'open'],
  ['EIO', 'write'],
  ['EIO', 'datasync'],
  ['EIO', 'rename'],
  ['EROFS', 'open rename unlink rm mkdir'],
])('%s at every %s: hits are hits, misses are passed through, and it passes (case 120)', async (fail, only) => {
  const all = await rig({ faults: {} })
  const held = await fetched(all)
  await all.program.order({ fail, only })
  await expectDegraded(all, held, 'failed')
  await all.program.order({})
  await expectHealed(all)
  expect(await readdir(join(all.program.store, 'v1', 'incoming'))).toEqual([])
})

test('EIO at every read: what cannot be read is fetched again for whoever asks (case 120)', async () => {
  const all = await rig({ faults: {} })
  const held = await fetched(all)
  await all.program.order({ fail: 'EIO', only: 'read' })
  for (let tries = 0; tries < 3; tries++) await expectServed(all.program, held)
  expect(await state(all.program)).toBe('failed')
  expect(all.program.warnings()).toHaveLength(1)
  await all.program.order({})
  await expectHealed(all)
  expect(await isHeld(all.program, held)).toBe(true)
})

test('no descriptors left: who is connected is answered, and it passes when they are given back (case 120)', async () => {
  const all = await rig()
  const held = await fetched(all)
  const { program } = all
  // Not from the start: it opens many files at once to load its own code.
  const limit = (await readdir(`/proc/${program.pid}/fd`)).length + 20
  expect(spawnSync('prlimit', ['--pid', String(program.pid), `--nofile=${limit}`]).status).toBe(0)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  onTestFinished(() => agent.destroy())
  const narinfo = (): Promise<number> =>
    new Promise((resolve, reject) => {
      const asking = request(`${program.url}/${held.hash}.narinfo`, { agent }, (response) => {
        response.resume()
        response.on('end', () => resolve(response.statusCode ?? 0))
      })
      asking.on('error', reject)
      asking.end()
    })
  expect(await narinfo()).toBe(200)
  const { hostname, port } = new URL(program.url)
  const idle: Socket[] = []
  onTestFinished(() => idle.forEach((socket) => socket.destroy()))
  for (let count = 0; count < 150; count++) {
    const socket = connect(Number(port), hostname)
    socket.on('error', () => {})
    idle.push(socket)
    await once(socket, 'connect')
  }
  for (let tries = 0; tries < 5; tries++) expect(await narinfo()).toBe(200)
  for (const socket of idle) socket.destroy()
  await expect
    .poll(
      () =>
        program.nar(held.hash).then(
          (got) => got?.equals(held.file),
          () => false,
        ),
      { timeout: 20_000 },
    )
    .toBe(true)
  await expectHealed(all)
  expect(program.dead).toBe(false)
})

test.each(['deleted', 'rubbish'])(
  'a catalogue that is %s while running is made again from the files (cases 125, 126)',
  async (how) => {
    const all = await rig()
    const held = await fetched(all)
    const top = join(all.program.store, 'v1')
    for (const name of (await readdir(top)).filter((name) => name.startsWith('catalogue.sqlite'))) {
      if (how === 'deleted') await rm(join(top, name))
      else await writeFile(join(top, name), randomBytes(100_000))
    }
    for (let tries = 0; tries < 3; tries++) {
      await expectServed(all.program, held)
      await expectServed(all.program, all.add())
    }
    await expectHealed(all)
    await expect.poll(() => isHeld(all.program, held), { timeout: 20_000 }).toBe(true)
    await all.program.kill()
  },
)

test('NARs deleted, cut short and altered under us are fetched again, or at least not served as whole (cases 124, 125)', async () => {
  const all = await rig()
  const entries = [await fetched(all), await fetched(all)]
  const nars = join(all.program.store, 'v1', 'nar')
  const pathOf = async ({ hash }: SyntheticEntry): Promise<string> => {
    const name = (await readdir(nars, { recursive: true })).find((name) => name.includes(hash) && name.endsWith('.nar'))
    return join(nars, name ?? '')
  }
  const [deleted, cut] = entries
  if (!deleted || !cut) throw new Error('two were fetched')
  await rm(await pathOf(deleted))
  await truncate(await pathOf(cut), 50_000)
  for (const entry of entries) await expectServed(all.program, entry)
  for (const entry of entries) await expect.poll(() => isHeld(all.program, entry), { timeout: 20_000 }).toBe(true)
  expect(await state(all.program)).toBe('ok')
})
