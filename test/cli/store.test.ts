// Promise: the commands that look after the store do what they say, show it, and let go of the store whatever comes.

import { rm } from 'node:fs/promises'
import { join } from 'node:path'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import type { Listed, Program, Repaired, Scrubbed, Store } from '../../src/cli/program.ts'
import type { Surroundings } from '../../src/compose.ts'
import type { Config } from '../../src/config.ts'
import { ProxyError } from '../../src/errors.ts'
import { isStoreHash, type StoreHash } from '../../src/nix/store-path.ts'
import { testShell, type TestShell } from './shell.ts'

const path = '/nix/store/sp69qifh9883ihs597ic0b4l257lv18n-demo-2'
const hash = storeHash('sp69qifh9883ihs597ic0b4l257lv18n')
const otherHash = storeHash('vp2rlk068sskdbmhcm9y15vlmgiy8y5d')
const agreed: Repaired = { adopted: 0, released: 0, removed: 0, quarantined: 0 }
const nothing: Scrubbed = { ...agreed, right: 0, damaged: [], unread: [] }

let t: TestShell
beforeEach(async () => {
  t = await testShell()
})
afterEach(() => t[Symbol.asyncDispose]())

/** A store that writes down what is done with it. */
function store(more: Partial<Store> = {}) {
  const done: string[] = []
  const note = (what: string): Promise<void> => Promise.resolve(void done.push(what))
  const opened: { config: Config; surroundings: Surroundings }[] = []
  const openStore: Program['openStore'] = (config, surroundings) => {
    opened.push({ config, surroundings })
    return Promise.resolve({
      pin: (which) => note(`pin ${which}`),
      unpin: (which) => note(`unpin ${which}`),
      list: () => [],
      stats: () => ({ nars: 4, bytes: 2 ** 30 }),
      scrub: () => Promise.resolve(nothing),
      rebuild: () => Promise.resolve(agreed),
      settled: () => note('settled'),
      close: () => note('close'),
      ...more,
    })
  }
  return { done, opened, openStore }
}

const on = (...words: string[]) => [...words, '--store', t.directory]

describe('every command', () => {
  test('opens the store of the configuration, or the one that it is told', async () => {
    const { opened, openStore } = store()
    const file = await t.write('c.toml', `store = { path = "${t.directory}", max_size = "1GB" }\nlog.format = "json"`)
    expect(await t.run(['list', '--config', file], { openStore })).toBe(0)
    expect(await t.run(['list', '--store', '/'], { openStore })).toBe(0)
    expect(opened.map(({ config }) => config.store)).toMatchObject([
      { path: t.directory, maxSize: 1e9 },
      { path: '/', maxSize: undefined },
    ])
  })

  test.each(['verify', 'list', 'rebuild', 'pin', 'unpin'])('%s makes no store where there is none', async (command) => {
    const { opened, openStore } = store()
    const missing = join(t.directory, 'typo')
    const paths = command.endsWith('pin') ? [path] : []
    expect(await t.run([command, ...paths, '--store', missing], { openStore })).toBe(1)
    expect(t.err()).toBe(`substrata: store: there is none in ${missing}\n`)
    expect(opened).toEqual([])
    expect(await t.run([command, ...paths], { openStore })).toBe(1)
    expect(t.err()).toContain(`store: there is none in ${t.directory}/.cache/substrata`)
  })

  test('closes the store after a failure', async () => {
    const rebuild = () => Promise.reject(new ProxyError('store-failed', 'store: no room for a catalogue'))
    const { done, openStore } = store({ rebuild })
    expect(await t.run(on('rebuild'), { openStore })).toBe(1)
    expect(t.err()).toBe('substrata: store: no room for a catalogue\n')
    expect(done).toEqual(['close'])
  })

  test('says who has the store', async () => {
    const openStore = () => Promise.reject(new ProxyError('store-failed', 'store: /x is in use by process 7'))
    expect(await t.run(on('list'), { openStore })).toBe(1)
    expect(t.err()).toBe('substrata: store: /x is in use by process 7\n')
  })
})

describe('pin and unpin', () => {
  test('take a store path, its base name or its hash', async () => {
    const { done, openStore } = store()
    const base = path.slice('/nix/store/'.length)
    expect(await t.run(on('pin', path, base, otherHash), { openStore })).toBe(0)
    expect(await t.run(on('unpin', path), { openStore })).toBe(0)
    expect(done).toEqual([`pin ${hash}`, `pin ${hash}`, `pin ${otherHash}`, 'close', `unpin ${hash}`, 'close'])
    expect(t.out()).toBe(`pinned ${path}\npinned ${path}\npinned ${otherHash}\nunpinned ${path}\n`)
  })

  test('do nothing at all when one of the paths is none', async () => {
    const { done, openStore } = store()
    expect(await t.run(on('pin', path, '/gnu/store/x'), { openStore })).toBe(2)
    expect(await t.run(on('unpin', path, 'demo'), { openStore })).toBe(2)
    expect(done).toEqual(['close', 'close'])
    expect(t.err()).toBe(
      'substrata: "/gnu/store/x" is not a store path in /nix/store, or its hash.\nTry "substrata pin --help".\n' +
        'substrata: "demo" is not a store path in /nix/store, or its hash.\nTry "substrata unpin --help".\n',
    )
  })

  test('know the store directory of the configuration', async () => {
    const { done, openStore } = store()
    const file = await t.write('c.toml', 'server.store_dir = "/other/store"')
    await t.run([...on('pin', path.replace('/nix', '/other')), '--config', file], { openStore })
    expect(done).toEqual([`pin ${hash}`, 'close'])
  })
})

describe('list', () => {
  const held: Listed = {
    hash,
    narinfo: `StorePath: ${path}\nURL: nar/x\n`,
    size: 1_610_612_736,
    pinned: false,
    uploaded: false,
  }
  const four = [
    held,
    { ...held, pinned: true, size: 7 },
    { ...held, uploaded: true, narinfo: `URL: x\nStorePath:${path}\r\n` },
    { ...held, uploaded: true, pinned: true, narinfo: 'nonsense' },
  ]

  test('prints a line for each, once all are known', async () => {
    const { done, openStore } = store({
      list: () => {
        done.push('list')
        return four
      },
    })
    expect(await t.run(on('list'), { openStore })).toBe(0)
    expect(done).toEqual(['settled', 'list', 'close'])
    expect(t.out()).toBe(
      ` 1.50 GiB            ${path}\n` +
        `      7 B  pinned    ${path}\n` +
        ` 1.50 GiB  uploaded  ${path}\n` +
        ` 1.50 GiB  pinned+uploaded  /nix/store/${hash}\n`,
    )
    expect(t.err()).toBe('')
  })

  test('adds them up on a terminal only', async () => {
    await using terminal = await testShell({ columns: 80 })
    await terminal.run(['list', '--store', t.directory], store({ list: () => four }))
    expect(terminal.err()).toBe('4 paths, 4.50 GiB\n')
  })
})

describe('verify', () => {
  test('says that all is right', async () => {
    const { done, openStore } = store({ scrub: () => Promise.resolve({ ...nothing, right: 4 }) })
    expect(await t.run(on('verify'), { openStore })).toBe(0)
    expect(t.out()).toBe('4 checked: 4 right, 0 damaged, 0 unreadable\n')
    expect(t.err()).toBe('')
    expect(done).toEqual(['close'])
  })

  test('names what is damaged or unreadable, and exits with 1', async () => {
    const scrubbed = {
      right: 2,
      damaged: [path],
      unread: [{ path: `/nix/store/${otherHash}`, why: 'EIO' }],
      adopted: 1,
      released: 2,
      removed: 3,
      quarantined: 0,
    }
    expect(await t.run(on('verify'), store({ scrub: () => Promise.resolve(scrubbed) }))).toBe(1)
    expect(t.out()).toBe(
      `damaged     ${path}\n` +
        `unreadable  /nix/store/${otherHash}: EIO\n` +
        '4 checked: 2 right, 1 damaged, 1 unreadable\n' +
        'repaired: 1 found again, 2 gone, 3 useless removed, 0 of wrong size set aside\n' +
        'Damaged files are in the quarantine directory of the store; they are fetched again when asked for.\n',
    )
  })

  test.each([{ damaged: [path] }, { unread: [{ path, why: 'EIO' }] }, { quarantined: 1 }])(
    'exits with 1 for %j',
    async (one) => {
      expect(await t.run(on('verify'), store({ scrub: () => Promise.resolve({ ...nothing, ...one }) }))).toBe(1)
    },
  )

  test('shows how far it is, on a terminal only', async () => {
    const scrub: Store['scrub'] = ({ progress }) => {
      progress({ ...nothing, right: 1, damaged: [path] })
      return Promise.resolve({ ...nothing, right: 3, damaged: [path] })
    }
    await using terminal = await testShell({ columns: 80 })
    expect(await terminal.run(['verify', '--store', t.directory], store({ scrub }))).toBe(1)
    expect(terminal.err()).toBe(`\r[${'#'.repeat(15)}${'.'.repeat(15)}]  50 %  2 of 4, 1 damaged\x1b[K\r\x1b[K`)
    await t.run(on('verify'), store({ scrub }))
    expect(t.err()).toBe('')
  })

  test('stops when it is told to', async () => {
    const scrub: Store['scrub'] = ({ signal, progress }) => {
      progress({ ...nothing, right: 3 })
      t.stopping.abort()
      return Promise.reject(signal.reason as Error)
    }
    const { done, openStore } = store({ scrub })
    expect(await t.run(on('verify'), { openStore })).toBe(1)
    expect(t.err()).toBe('substrata: stopped after 3 of 4\n')
    expect(done).toEqual(['close'])
  })
})

describe('rebuild', () => {
  test('says what it found', async () => {
    const rebuild = () => Promise.resolve({ ...agreed, adopted: 4, removed: 2, quarantined: 1 })
    expect(await t.run(on('rebuild'), store({ rebuild }))).toBe(0)
    expect(t.out()).toBe(
      'the catalogue has 4 NARs again (1.00 GiB)\n2 useless files removed, 1 NARs of wrong size set aside\n',
    )
  })

  test('is stopped by closing the store', async () => {
    let finish: (repaired: Repaired | undefined) => void = () => {}
    const rebuild = () => {
      const result = new Promise<Repaired | undefined>((resolve) => (finish = resolve))
      t.stopping.abort()
      return result
    }
    const { done, openStore } = store({
      rebuild,
      close: () => {
        done.push('close')
        finish(undefined)
        return Promise.resolve()
      },
    })
    expect(await t.run(on('rebuild'), { openStore })).toBe(1)
    expect(done).toEqual(['close'])
    expect(t.err()).toContain('stopped before the end')
  })
})

test('a store directory that is a file is none', async () => {
  const file = await t.write('file', '')
  expect(await t.run(['list', '--store', file], store())).toBe(1)
  expect(t.err()).toBe(`substrata: store: there is none in ${file}\n`)
  await rm(file)
})

function storeHash(text: string): StoreHash {
  if (!isStoreHash(text)) throw new Error(`${text} is no store hash`)
  return text
}
