// The whole program on a disk whose system calls fail under files that are open already, SQLite's among them.

import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { constants } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

import { expect, test } from 'vitest'

import { describeUnless, needs } from '../support/needs.ts'
import { Program, scratch, type ProgramOptions } from './support/program.ts'
import {
  expectDegraded,
  expectHealed,
  expectServed,
  fetched,
  isHeld,
  narUrl,
  rig,
  state,
  type Rig,
} from './support/rig.ts'

type Kind = 'read' | 'write' | 'sync'

/** What sick-disk.c is told, and how a program is started under it. */
interface Disk {
  readonly before: string
  /** These calls fail on files whose paths end so, from a byte of theirs on. */
  readonly sicken: (code: 'EIO' | 'ENOSPC', ending: string, kinds: readonly Kind[], from?: number) => Promise<void>
  readonly cure: () => Promise<void>
}

async function sickDisk(): Promise<Disk> {
  const dir = await scratch()
  const [library, orders] = [join(dir, 'sick-disk.so'), join(dir, 'orders')]
  const source = join(import.meta.dirname, 'support', 'sick-disk.c')
  const made = spawnSync('gcc', ['-shared', '-fPIC', '-O1', '-o', library, source, '-ldl'], { encoding: 'utf8' })
  if (made.status !== 0) throw new Error(made.stderr)
  await mkdir(orders)
  return {
    before: `export LD_PRELOAD=${library} SICK_DISK=${orders};`,
    sicken: async (code, ending, kinds, from = 0) => {
      for (const kind of kinds) await writeFile(join(orders, kind), `${constants.errno[code]} ${from} ${ending}`)
    },
    cure: async () => {
      for (const kind of ['read', 'write', 'sync']) await rm(join(orders, kind), { force: true })
    },
  }
}

async function sickRig(more: Partial<ProgramOptions> = {}): Promise<Rig & { readonly disk: Disk }> {
  const disk = await sickDisk()
  return { ...(await rig({ ...more, before: disk.before })), disk }
}

const wal = '/v1/catalogue.sqlite-wal'
const database = '/v1/catalogue.sqlite'

describeUnless(needs('gcc'), 'system calls that fail', () => {
  test.each([
    ['EIO', 'failed'],
    ['ENOSPC', 'full'],
  ] as const)(
    '%s on writing the catalogue: hits are hits, misses are passed through, and it passes (case 120)',
    async (code, is) => {
      const all = await sickRig()
      const held = await fetched(all)
      await all.disk.sicken(code, wal, ['write'])
      await expectDegraded(all, held, is)
      await all.disk.cure()
      await expectHealed(all)
      expect(await isHeld(all.program, held)).toBe(true)
    },
  )

  test('EIO on all that SQLite does: what is on disk is found without it, and it passes (case 120)', async () => {
    const all = await sickRig()
    const held = await fetched(all)
    const unremembered = await fetched(all)
    await all.disk.sicken('EIO', wal, ['read', 'write', 'sync'])
    await expectDegraded(all, held, 'failed')
    // Its catalogue had to be opened anew, and could not be.
    await expectServed(all.program, unremembered)
    expect(all.upstream.count(unremembered.narPath)).toBe(1)
    // Nor does the thread that moves its log, some seconds later, say the same once more.
    await delay(7000)
    expect(all.program.warnings()).toHaveLength(1)
    await all.disk.cure()
    await expectHealed(all)
    for (const entry of [held, unremembered]) expect(await isHeld(all.program, entry)).toBe(true)
  })

  test('a start with a catalogue that cannot be read: what is on disk is served, and it passes (case 120)', async () => {
    const first = await sickRig()
    const held = await fetched(first)
    await first.program.stop()
    await first.disk.sicken('EIO', database, ['read'])
    const options = { store: first.program.store, upstream: first.upstream.url, key: first.cache.publicKey }
    const all = { ...first, program: await Program.start({ ...options, before: first.disk.before }) }
    expect(all.program.warnings()).toHaveLength(1)
    await expectDegraded(all, held, 'failed', true)
    await all.disk.cure()
    await expectHealed(all)
    expect(await isHeld(all.program, held)).toBe(true)
    // It was not at fault, and was not thrown away.
    expect(all.program.output).not.toContain('made again')
  })

  test('EIO on moving the log into the catalogue: all is kept, the operator hears of it, and it passes (case 120)', async () => {
    const all = await sickRig()
    await fetched(all)
    await all.disk.sicken('EIO', database, ['write', 'sync'])
    const held = await fetched(all)
    await expect.poll(() => state(all.program), { timeout: 30_000 }).toBe('failed')
    for (let tries = 0; tries < 3; tries++) expect(await isHeld(all.program, await fetched(all))).toBe(true)
    expect(await state(all.program)).toBe('failed')
    expect(await all.program.metric('substrata_store_ok')).toBe(0)
    expect(all.program.warnings()).toHaveLength(1)
    await all.disk.cure()
    await fetched(all)
    await expect.poll(() => state(all.program), { timeout: 30_000 }).toBe('ok')
    expect(await isHeld(all.program, held)).toBe(true)
  })

  test.each([0, 1_500_000])(
    'EIO from byte %i of a NAR on: the rest comes from elsewhere, and the operator hears of it (case 120)',
    async (from) => {
      const all = await sickRig()
      const large = { ...all, add: () => all.cache.add({ content: randomBytes(4_000_000) }) }
      const held = await fetched(large)
      const url = await narUrl(all.program, held)
      await all.disk.sicken('EIO', '.nar', ['read'], from)
      for (let tries = 0; tries < 3; tries++) {
        await expectServed(all.program, held)
        const part = await all.program.get(url, { range: 'bytes=1000-3999999' })
        expect(part.status).toBe(206)
        expect(part.body.equals(held.file.subarray(1000, 4_000_000))).toBe(true)
      }
      expect(await state(all.program)).toBe('failed')
      expect(all.program.warnings()).toHaveLength(1)
      // Where nobody else has it, the answer breaks off and is not taken for a whole one.
      for (const path of [held.narPath, held.narinfoPath]) all.cache.remove(path)
      await expect(all.program.get(url)).rejects.toThrow(/hang up|aborted/)
      await all.disk.cure()
      await expectServed(all.program, held)
      await expectHealed(all)
    },
  )
})
