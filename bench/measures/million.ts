// Measures 2, 11 and 12: what a store of a million paths costs, beside one of a thousand.

import { randomBytes } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

import { parseNarInfo } from '../../src/nix/narinfo.ts'
import { parsePublicKey } from '../../src/nix/signature.ts'
import { Catalogue } from '../../src/store/catalogue.ts'
import { DiskStore } from '../../src/store/disk-store.ts'
import { narFileOf } from '../../src/store/held-nar.ts'
import { Layout } from '../../src/store/layout.ts'
import { bigStore } from '../big-store.ts'
import { substrata } from '../contestants.ts'
import { ask, writePaths } from '../load.ts'
import { atLeast, atMost, type Bench, type Measure } from '../measure.ts'
import { median, medians } from '../rounds.ts'
import { run } from '../run.ts'
import { withRunning } from './all-in-front.ts'

const connections = 64
const mebibyte = 1024 * 1024
/** Names that are asked for again and again: they are in memory in both stores. */
const hot = 500

interface Stores {
  readonly small: { readonly root: string; readonly hashes: readonly string[] }
  readonly large: { readonly root: string; readonly hashes: readonly string[] }
  readonly label: string
}

/** What measure 12 takes away of a store that is kept from run to run, and how often it can. */
const evictedEachTime = 64
const spareOfLarge = 20_000

async function stores(bench: Bench): Promise<Stores> {
  const count = bench.short ? 5000 : 1_000_000
  const large = { root: bench.kept(`store-${count}`), count, spare: spareOfLarge }
  const small = { root: join(await bench.scratch('store'), 'store-1000'), count: 1000, spare: 1000 }
  bench.say(`  a store of ${count} paths, made when it is not there`)
  return {
    small: { ...small, hashes: await bigStore(bench.cache, small) },
    large: { ...large, hashes: await bigStore(bench.cache, large) },
    label: count.toLocaleString('en'),
  }
}

export const millionNarinfos: Measure = {
  number: 2,
  name: 'million-narinfos',
  run: async (bench) => {
    const { small, large, label } = await stores(bench)
    const directory = await bench.scratch('million')
    const hotPaths = {
      small: await writePaths(join(directory, 'small.paths'), small.hashes.slice(0, hot)),
      large: await writePaths(join(directory, 'large.paths'), large.hashes.slice(0, hot)),
    }
    const all = await writePaths(join(directory, 'all.paths'), large.hashes)
    const contestants = [
      { ...substrata({ root: small.root }), name: 'small' },
      { ...substrata({ root: large.root }), name: 'large' },
    ]
    return withRunning(bench, directory, contestants, async (running) => {
      const url = (name: string): URL => running[name]?.url ?? bench.origin
      const load = { connections, seconds: bench.seconds }
      const hits = (name: 'small' | 'large') => ask({ url: url(name), paths: hotPaths[name], order: 'turn', ...load })
      const beyond = () => ask({ url: url('large'), paths: all, order: 'random', ...load })
      await Promise.all([hits('small'), hits('large')])
      await beyond()
      const rates = await medians(bench.rounds, {
        'memory hits': async () => (await hits('large')).rate,
        [`any of ${label}`]: async () => {
          // Into the page cache, as far as the kernel lets it: what is measured is our memory, not the disk.
          await run('sh', ['-c', 'cat "$0" > /dev/null', join(large.root, 'v1', 'catalogue.sqlite')])
          return (await beyond()).rate
        },
      })
      const p99 = await medians(bench.rounds, {
        'of 1,000': async () => (await hits('small')).p99,
        [`of ${label}`]: async () => (await hits('large')).p99,
      })
      const [first = 0, second = 0] = Object.values(rates)
      const [before = 0, after = 0] = Object.values(p99)
      return [
        {
          what: `narinfos of a store of ${label}: working set in memory, and all of them at random`,
          unit: '/s',
          values: rates,
          promise: atLeast('beyond memory ÷ in memory', second / first, 0.5),
        },
        {
          what: `p99 of memory hits in a store of 1,000 and of ${label}`,
          unit: 'ms',
          values: p99,
          promise: atMost('large ÷ small', after / before, 1.2),
        },
      ]
    })
  },
}

export const startUp: Measure = {
  number: 11,
  name: 'start-up',
  run: async (bench) => {
    const { large, label } = await stores(bench)
    const directory = await bench.scratch('start-up')
    const resident: number[] = []
    let turn = 0
    const start = async (): Promise<number> => {
      const began = performance.now()
      const mine = join(directory, String(turn++))
      return withRunning(bench, mine, [substrata({ root: large.root })], async ({ Substrata }) => {
        const { url, process } = Substrata ?? { url: bench.origin, process: undefined }
        const answer = await fetch(new URL(`${large.hashes[turn] ?? ''}.narinfo`, url))
        const took = (performance.now() - began) / 1000
        if (answer.status !== 200) throw new Error(`narinfo: ${answer.status}`)
        await answer.text()
        await delay(2000)
        resident.push((process?.resident() ?? 0) / mebibyte)
        return took
      })
    }
    const values = await medians(bench.rounds, { Substrata: start })
    const rest = median(resident)
    return [
      {
        what: `start with ${label} paths, until the first hit is served`,
        unit: 's',
        values,
        promise: atMost('Substrata', values['Substrata'] ?? Number.NaN, 1, 's'),
      },
      {
        what: 'memory at rest then',
        unit: 'MiB',
        values: { Substrata: rest },
        promise: atMost('Substrata', rest, 200, 'MiB'),
      },
    ]
  },
}

export const commits: Measure = {
  number: 12,
  name: 'commits',
  run: async (bench) => {
    const { small, large, label } = await stores(bench)
    const roots = { few: small.root, many: large.root }
    const took = {
      commit: { few: [] as number[], many: [] as number[] },
      evict: { few: [] as number[], many: [] as number[] },
    }
    for (let round = 0; round < bench.rounds; round++) {
      for (const which of ['few', 'many'] as const) {
        took.commit[which].push(await commitTime(bench, roots[which]))
        took.evict[which].push(await evictionTime(bench, roots[which]))
      }
    }
    return (['commit', 'evict'] as const).map((what) => {
      const [few, many] = [median(took[what].few), median(took[what].many)]
      return {
        what: `${what === 'commit' ? 'commit' : 'eviction'} of one NAR in a store of 1,000 and of ${label}`,
        unit: 'ms',
        values: { 'of 1,000': few, [`of ${label}`]: many },
        promise: atMost('large ÷ small', many / few, 1.2),
      }
    })
  },
}

function open(bench: Bench, root: string, maxSize?: number): Promise<DiskStore> {
  const keys = [parsePublicKey(bench.cache.publicKey)]
  return DiskStore.open({ root, storeDir: '/nix/store', keys, maxSize, minFree: 1, memory: 64 * mebibyte })
}

/** Milliseconds that one NAR takes from its reservation to its row: the median of some. */
async function commitTime(bench: Bench, root: string): Promise<number> {
  const store = await open(bench, root)
  const label = `commit-${randomBytes(8).toString('hex')}`
  const entries = await bench.cache.paths(label, bench.short ? 5 : 100, false)
  try {
    const times: number[] = []
    for (const { narinfo: text, narSize } of entries) {
      const narinfo = parseNarInfo(text, '/nix/store')
      const bytes = randomBytes(narSize)
      const before = performance.now()
      const reservation = await store.reserve(
        { narinfo, from: 'bench', signedBy: 'bench-1', peer: false, open: never },
        narSize,
      )
      await reservation.file.write(bytes)
      await reservation.commit('nar', narSize)
      times.push(performance.now() - before)
      await reservation.file.close()
    }
    return median(times)
  } finally {
    await store.close()
  }
}

/** Milliseconds that it takes to let go of one NAR, the mean of some. */
async function evictionTime(bench: Bench, root: string): Promise<number> {
  const unbounded = await open(bench, root)
  const { bytes, nars } = unbounded.stats()
  await unbounded.close()
  await touch(root)
  // The low watermark lies at 95 % of the budget: the least recently used so many are above it.
  const store = await open(bench, root, Math.floor((bytes - (bytes / nars) * (evictedEachTime - 0.5)) / 0.95))
  try {
    const before = performance.now()
    const evicted = await store.evict()
    if (evicted.nars !== evictedEachTime) throw new Error(`${evicted.nars} evicted, not ${evictedEachTime}`)
    return (performance.now() - before) / evicted.nars
  } finally {
    await store.close()
  }
}

/** Looks at the files that go next: the small store has just been made, and the kernel knows its files; here the large one catches up. */
async function touch(root: string): Promise<void> {
  const layout = new Layout({ root })
  const catalogue = Catalogue.open(layout.catalogue)
  const next = catalogue?.leastRecent(evictedEachTime) ?? []
  catalogue?.close()
  for (const row of next) {
    const file = narFileOf(row)
    await Promise.all([stat(layout.nar(file)), stat(layout.sidecar(file))])
  }
}

function never(): Promise<never> {
  return Promise.reject(new Error('nobody opens this'))
}
