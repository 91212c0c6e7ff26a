// `npm run soak -- [--minutes N]`: a long life in fast time. Upstreams come and go, the uplink goes, the store is at its limit all the
// time, clients do everything that clients do; and at the end the proxy must hold no more than it did after its first third.

import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'

import { startScriptedUpstream, type ScriptedUpstream, type SeenRequest } from '../support/scripted-upstream.ts'
import { nix32, SyntheticCache } from '../support/synthetic-cache.ts'
import { Clients } from './clients.ts'
import { rise, settled } from './flat.ts'
import { ProxyProcess } from './proxy-process.ts'

const mebibyte = 1024 * 1024
const budget = 6 * mebibyte
/** Milliseconds of one kind of weather. */
const phaseFor = 500
/** Clients at a time. */
const clientCount = 16
/** What a machine that is upgraded once a day asks: some 2000 narinfos and 200 NARs. */
const requestsPerDay = 2200

/** One look at the proxy, while nobody asks it anything. */
interface Sample {
  readonly seconds: number
  readonly requests: number
  /** MiB. */
  readonly rss: number
  readonly heap: number
  readonly outside: number
  readonly descriptors: number
  readonly timers: number
  /** Everything else that keeps the process busy. */
  readonly handles: number
  /** Files in `incoming/`. */
  readonly temporary: number
  /** Narinfos in the catalogue, NARs held, and MiB of these. */
  readonly rows: number
  readonly nars: number
  readonly stored: number
}

/** By how much each may rise over the last two thirds, by the line through the samples. */
const tolerances = {
  // What the allocator and the heaps of the threads have once taken comes back late: it levels off after some minutes.
  rss: 48,
  heap: 2,
  outside: 2,
  descriptors: 4,
  timers: 4,
  handles: 4,
  temporary: 2,
} as const satisfies Partial<Record<keyof Sample, number>>

/** Exit code: 0 flat, 1 not, 2 for wrong use. */
export async function main(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({ args: [...argv], options: { minutes: { type: 'string' }, seed: { type: 'string' } } })
  const minutes = Number(values.minutes ?? 1)
  if (!(minutes > 0)) {
    say('usage: npm run soak -- [--minutes N] [--seed N]')
    return 2
  }
  const place = await mkdtemp(join(tmpdir(), 'substrata-soak-'))
  const cache = new SyntheticCache()
  const near = await startScriptedUpstream({ cache })
  const far = await startScriptedUpstream({ cache })
  try {
    const config = join(place, 'config.toml')
    await writeFile(config, toml(place, cache, near.url, far.url))
    const proxy = await ProxyProcess.start(config)
    try {
      return await soak(proxy, {
        cache,
        near,
        far,
        minutes,
        root: join(place, 'store'),
        seed: Number(values.seed ?? 1),
      })
    } finally {
      await proxy.stop()
    }
  } finally {
    await near.close()
    await far.close()
    await rm(place, { recursive: true, force: true })
  }
}

interface Stage {
  readonly cache: SyntheticCache
  readonly near: ScriptedUpstream
  readonly far: ScriptedUpstream
  readonly root: string
  readonly minutes: number
  readonly seed: number
}

async function soak(proxy: ProxyProcess, { cache, near, far, root, minutes, seed }: Stage): Promise<number> {
  const random = dice(seed)
  const add = (at: number) =>
    cache.add({ content: randomBytes(2 ** (10 + random() * 8)), compression: at % 3 === 0 ? 'zstd' : 'none' })
  const entries = Array.from({ length: 300 }, (_, at) => add(at))
  // Served by no upstream.
  const uploads = Array.from({ length: 40 }, (_, at) => add(at))
  for (const { narPath, narinfoPath } of uploads) for (const path of [narPath, narinfoPath]) cache.remove(path)
  const absent = Array.from({ length: 200 }, () => nix32(randomBytes(20)))
  const clients = new Clients({ url: proxy.url, entries, uploads, absent, random })

  const began = performance.now()
  const end = began + minutes * 60_000
  const samples: Sample[] = []
  while (performance.now() < end && proxy.running) {
    const stop = new AbortController()
    const busy = clients.run(clientCount, stop.signal)
    for (const weather of weathers) {
      await weather(near, far)
      await delay(phaseFor)
      await clear(near, far)
    }
    await delay(phaseFor)
    stop.abort()
    await busy
    for (const { requests } of [near, far]) (requests as SeenRequest[]).length = 0
    // Idle connections come and go as they like; what is left without them is what was forgotten.
    clients.close()
    near.closeIdle()
    far.closeIdle()
    const one = await sample(proxy, clients, root, began)
    if (samples.length === 0)
      say(
        columnsOf(one)
          .map((column) => column.padStart(12))
          .join(''),
      )
    say(
      columnsOf(one)
        .map((column) => shown(one[column]).padStart(12))
        .join(''),
    )
    samples.push(one)
  }
  return report(samples, proxy, clients)
}

/** What upstreams do to us: each lasts for a phase, then all are well again. */
const weathers: readonly ((near: ScriptedUpstream, far: ScriptedUpstream) => Promise<void> | void)[] = [
  () => {},
  (near) => near.down(),
  (near) => near.script(/./, { never: true }),
  // The whole uplink.
  async (near, far) => {
    await near.down()
    await far.down()
  },
  (near, far) => {
    for (const one of [near, far]) one.script(/./, { html: true })
  },
  (near) => near.script(/^\/nar/, { cutAfter: 2000 }),
  (near) => near.script(/^\/nar/, { wrongByte: 100, times: 3 }),
  (near) => near.script(/^\/nar/, { stallAfter: 500 }),
  (near, far) => {
    for (const one of [near, far]) one.script(/./, { status: 503, headers: { 'retry-after': '1' }, times: 20 })
  },
  (near) => near.script(/./, { hangUp: 'reset' }),
]

async function clear(...upstreams: readonly ScriptedUpstream[]): Promise<void> {
  for (const upstream of upstreams) {
    upstream.unscript()
    // Does nothing where it is up already.
    await upstream.down()
    await upstream.up()
  }
}

/** Waits until nothing is being fetched any more, and looks. */
async function sample(proxy: ProxyProcess, clients: Clients, root: string, began: number): Promise<Sample> {
  let status = await statusOf(proxy)
  for (let waits = 0; status.fills.length > 0 && waits < 300; waits += 1) {
    await delay(100)
    status = await statusOf(proxy)
  }
  const { rss, heap, outside, resources, descriptors } = await proxy.held()
  const { Timeout: timers = 0, Immediate: _, ...others } = resources
  return {
    seconds: Math.round((performance.now() - began) / 1000),
    requests: clients.requests,
    rss: rss / mebibyte,
    heap: heap / mebibyte,
    outside: outside / mebibyte,
    descriptors,
    timers,
    handles: Object.values(others).reduce((sum, count) => sum + count, 0),
    temporary: (await readdir(join(root, 'v1', 'incoming'))).length,
    rows: status.store.narinfos,
    nars: status.store.nars,
    stored: status.store.bytes / mebibyte,
  }
}

interface Status {
  readonly fills: readonly unknown[]
  readonly store: { readonly bytes: number; readonly nars: number; readonly narinfos: number }
}

async function statusOf({ url }: ProxyProcess): Promise<Status> {
  const answer = await fetch(url, { headers: { accept: 'application/json', connection: 'close' } })
  return (await answer.json()) as Status
}

function report(samples: readonly Sample[], proxy: ProxyProcess, clients: Clients): number {
  const [requests, seconds] = [clients.requests, samples.at(-1)?.seconds ?? 0]
  const days = (requests / requestsPerDay).toFixed(1)
  say('')
  say(
    `${requests} requests in ${seconds} s (${clients.nars} NARs, ${clients.uploaded} uploads): ${days} days of a machine`,
  )
  say(
    `that is upgraded once a day and then asks ${requestsPerDay} times. Over the last two thirds of the samples (least squares):`,
  )
  const faults: string[] = [...clients.wrong.map((what) => `wrong bytes: ${what}`), ...proxy.complaints.keys()]
  for (const [column, most] of Object.entries(tolerances) as [keyof typeof tolerances, number][]) {
    const grown = rise(settled(samples).map((one) => one[column]))
    say(`  ${column.padEnd(12)} ${grown >= 0 ? '+' : ''}${grown.toFixed(2)} of at most +${most}`)
    if (grown > most) faults.push(`${column} grows`)
  }
  if (samples.length < 6) faults.push(`${samples.length} samples are too few to tell`)
  if (samples.some(({ stored }) => stored * mebibyte > budget)) faults.push('the store has outgrown its budget')
  if (!proxy.running) faults.push('the proxy has ended')
  for (const fault of faults) say(`FAILED: ${fault}`)
  if (faults.length === 0) say('flat')
  return faults.length > 0 ? 1 : 0
}

function columnsOf(one: Sample): readonly (keyof Sample)[] {
  return Object.keys(one) as (keyof Sample)[]
}

function shown(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toFixed(1)
}

/** Mulberry32: the same weather and the same clients in every run. */
function dice(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

function toml(place: string, cache: SyntheticCache, near: URL, far: URL): string {
  const impatient = 'connect_timeout = "300ms"\nfirst_byte_timeout = "300ms"\nlow_speed_time = "1s"\nmiss_ttl = "300ms"'
  const stratum = (name: string, url: URL): string =>
    `[[strata]]\nname = "${name}"\nhedge = "50ms"\n[[strata.upstreams]]\nurl = "${url.href}"\nname = "${name}"\n${impatient}`
  return `[server]
listen = ["127.0.0.1:0"]
deadline = "1s"
shutdown = "2s"
[server.uploads]
addresses = ["127.0.0.0/8"]
evict = true
[store]
path = ${JSON.stringify(join(place, 'store'))}
max_size = "${budget}B"
min_free = "1B"
memory = "128KiB"
[trust]
keys = ["${cache.publicKey}"]
[log]
level = "info"
${stratum('near', near)}
${stratum('far', far)}
`
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
