// The whole program on a disk that is full, read-only or failing, with files altered under it: what is cached is served, what is not is
// passed through, the operator hears of it once, and it passes by itself.

import { spawnSync, type SpawnSyncReturns } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { Agent } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'

import { expect, onTestFinished, test } from 'vitest'

import { describeUnless, needs } from '../support/needs.ts'
import type { SyntheticEntry } from '../support/synthetic-cache.ts'
import { answerOf, type Answer } from '../support/test-proxy.ts'
import { main, Program, scratch } from './support/program.ts'
import {
  expectDegraded,
  expectHealed,
  expectServed,
  fetched,
  isHeld,
  narUrl,
  rig,
  settled,
  state,
  type Rig,
} from './support/rig.ts'

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

describeUnless(needs('prlimit'), 'no descriptors left', () => {
  /** A client that is connected, on a program that can open nothing more until `giveBack`. */
  async function starved({ program }: Rig): Promise<{ ask: (path: string) => Promise<Answer>; giveBack: () => void }> {
    // Not from the start: it opens many files at once to load its own code.
    const limit = (await readdir(`/proc/${program.pid}/fd`)).length + 20
    expect(spawnSync('prlimit', ['--pid', String(program.pid), `--nofile=${limit}`]).status).toBe(0)
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    onTestFinished(() => agent.destroy())
    const ask = (path: string): Promise<Answer> => answerOf(`${program.url}/${path}`, {}, 'GET', agent)
    expect((await ask('ready')).status).toBe(200)
    const { hostname, port } = new URL(program.url)
    const idle: Socket[] = []
    const giveBack = (): void => idle.forEach((socket) => socket.destroy())
    onTestFinished(giveBack)
    for (let count = 0; count < 150; count++) {
      const socket = connect(Number(port), hostname)
      socket.on('error', () => {})
      idle.push(socket)
      await once(socket, 'connect')
    }
    return { ask, giveBack }
  }

  test('who is connected is answered, and it passes when they are given back (case 120)', async () => {
    const all = await rig()
    const held = await fetched(all)
    const { ask, giveBack } = await starved(all)
    for (let tries = 0; tries < 5; tries++) expect((await ask(`${held.hash}.narinfo`)).status).toBe(200)
    giveBack()
    const whole = (): Promise<boolean> =>
      all.program.nar(held.hash).then(
        (got) => got?.equals(held.file) === true,
        () => false,
      )
    await expect.poll(whole, { timeout: 20_000 }).toBe(true)
    await expectHealed(all)
    expect(all.program.dead).toBe(false)
  })

  test('a NAR on disk that cannot be opened is to be asked for again, not missing, and it passes (case 120)', async () => {
    const all = await rig()
    const held = await fetched(all)
    const url = await narUrl(all.program, held)
    const { ask, giveBack } = await starved(all)
    // Nobody else could give it: what is answered is about the disk alone.
    for (const path of [held.narPath, held.narinfoPath]) all.cache.remove(path)
    for (let tries = 0; tries < 5; tries++) expect((await ask(url)).status).toBe(502)
    giveBack()
    const again = (): Promise<boolean> =>
      all.program.get(url).then(
        ({ status, body }) => status === 200 && body.equals(held.file),
        () => false,
      )
    await expect.poll(again, { timeout: 20_000 }).toBe(true)
    // It says nothing about the disk.
    expect(await state(all.program)).toBe('ok')
    await expectHealed(all)
  })
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

test('a NAR altered at the same length: clients refuse it, verify finds it, and it is fetched again (case 124)', async () => {
  const all = await rig()
  const { program, upstream, cache } = all
  const rotten = await fetched(all)
  const sound = await fetched(all)
  const nars = join(program.store, 'v1', 'nar')
  const name = (await readdir(nars, { recursive: true })).find((name) => name.includes(rotten.hash))
  const file = join(nars, (name ?? '').replace(/\.narinfo$/, ''))
  const altered = Buffer.from(rotten.file)
  altered[54_321] = (altered[54_321] ?? 0) ^ 1
  await writeFile(file, altered)
  // Nobody hashes what is read from disk but the client, whose NarHash says no.
  expect((await program.nar(rotten.hash))?.equals(altered)).toBe(true)
  await program.stop()

  const verify = (): SpawnSyncReturns<string> =>
    spawnSync(process.execPath, [main, 'verify', '--store', program.store], { encoding: 'utf8' })
  const first = verify()
  expect(first.stdout).toContain(`damaged     ${rotten.storePath}\n2 checked: 1 right, 1 damaged, 0 unreadable\n`)
  expect(first.status).toBe(1)

  const again = await Program.start({ store: program.store, upstream: upstream.url, key: cache.publicKey })
  expect(await isHeld(again, rotten)).toBe(false)
  expect(await isHeld(again, sound)).toBe(true)
  await expectServed(again, rotten)
  await settled(again)
  expect(await isHeld(again, rotten)).toBe(true)
  await again.stop()
  expect(verify().status).toBe(0)
})
