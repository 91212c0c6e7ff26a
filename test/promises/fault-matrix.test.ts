// Every fault of an upstream, at every moment, with a good one beside it, in the next stratum, or nowhere: right bytes or an honest
// failure, no lie kept, nothing remembered as missing, nobody else harmed. The faults are rows of test/support/faults.ts; here are
// the moments and the company, and what is promised in every cell.

import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

import { describe, expect, onTestFinished, test, vi } from 'vitest'

import { deafAt, faults, type Fault, type Strike } from '../support/faults.ts'
import { startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { SyntheticCache, type SyntheticEntry } from '../support/synthetic-cache.ts'
import { openAnswer, startProxy, type TestProxy } from '../support/test-proxy.ts'

/** Where the first half of a NAR ends, in bytes. */
const half = 150_000
/** Cells that are played at once. */
const atOnce = 16
/** ms: many times what a hedge, a round trip and our own limits take here, 16 cells at once on a busy machine; no limit of 10m. */
const soon = 15_000

interface Moment {
  readonly name: string
  /** What this fault is at this moment. */
  readonly strike: (fault: Fault) => Strike
  /** How the fault is brought about and what its clients saw. */
  readonly play: (scene: Scene) => Promise<readonly Seen[]>
  /** Another upstream gives the first half, and dies. */
  readonly relayed?: (fault: Fault) => boolean
  /** Only the limits on a transfer end the wait: a giver that has begun is not hedged. */
  readonly begun?: (fault: Fault) => boolean
}

const moments: readonly Moment[] = [
  { name: 'the narinfo', strike: ({ narinfo }) => narinfo, play: askNarinfo },
  { name: 'the first byte of a NAR', strike: ({ first }) => first, play: askNar },
  {
    name: 'the middle of a NAR',
    strike: ({ middle }) => middle,
    play: (scene) => follow(scene, 1),
    begun: () => true,
  },
  {
    name: 'the narinfo of a resume',
    strike: ({ narinfo }) => ('host' in narinfo ? { none: 'a resume begins with its narinfo: see a resume' } : narinfo),
    play: (scene) => relay(scene, 1, scene.entry.narinfoPath),
    relayed: () => true,
  },
  {
    name: 'a resume',
    strike: ({ resume }) => resume,
    play: (scene) => relay(scene, 1),
    relayed: () => true,
  },
  {
    name: '50 clients following',
    strike: (fault) => ('none' in fault.middle ? fault.resume : fault.middle),
    play: (scene) => ('none' in scene.fault.middle ? relay(scene, 50) : follow(scene, 50)),
    relayed: ({ middle }) => 'none' in middle,
    begun: ({ middle }) => !('none' in middle),
  },
]

/** One, where the machine is not so busy that our own short limits cut a good giver off in between. */
const fewFetches = 'a fetch for all of them'

const company = ['beside a good one', 'before a stratum with a good one', 'alone'] as const
type Company = (typeof company)[number]

const played = { cells: 0, none: 0 }

describe.each(moments.map((moment) => [moment.name, moment] as const))('struck at %s', (_, moment) => {
  test.each(company)('%s', { timeout: 180_000 }, async (beside) => {
    const failed: Record<string, unknown> = {}
    const waiting = [...faults]
    const player = async (): Promise<void> => {
      for (let fault = waiting.shift(); fault; fault = waiting.shift()) {
        try {
          await cell(moment, beside, fault)
        } catch (error) {
          failed[fault.name] = error instanceof Error ? error.message : error
        }
      }
    }
    await Promise.all(Array.from({ length: atOnce }, player))
    expect(failed).toEqual({})
  })
})

test('every cell was played, or stands in the table as none', () => {
  const cells = counted((strike) => !('none' in strike))
  const none = counted((strike) => 'none' in strike)
  expect(played).toEqual({ cells, none })
  expect(cells).toBeGreaterThan(250)
})

/** What one client got; undefined: its connection was cut. */
type Seen = { readonly status: number; readonly body: Buffer } | undefined

interface Scene {
  readonly fault: Fault
  readonly strike: Exclude<Strike, { readonly none: string }>
  readonly beside: Company
  readonly proxy: TestProxy
  /** What is asked for; what is on disk already; what only the good one has. */
  readonly entry: SyntheticEntry
  readonly held: SyntheticEntry
  readonly fresh: SyntheticEntry
  readonly bad: ScriptedUpstream
  readonly good: ScriptedUpstream | undefined
  /** Has the first half, where the fault is in the second. */
  readonly starter: ScriptedUpstream | undefined
  /** What the bad one serves under a FileHash of its own making. */
  readonly lie?: Buffer | undefined
  /** Lets the good one, or the bad one behind the starter, give the narinfo. */
  readonly letBad: () => void
  readonly letGood: () => void
  /** Takes the host away, where that is the fault. */
  hostFails(): Promise<void>
}

async function cell(moment: Moment, beside: Company, fault: Fault): Promise<void> {
  const strike = moment.strike(fault)
  if ('none' in strike) {
    played.none += 1
    return
  }
  const cache = new SyntheticCache()
  const entry = cache.add({ content: randomBytes(300_000), compression: 'zstd' })
  const held = cache.add()
  const badCache = new SyntheticCache()
  for (const [path, file] of cache.files) badCache.files.set(path, file)
  const fresh = cache.add()
  const lie = 'lies' in strike ? strike.lies(entry, badCache.files) : undefined

  const bad = await upstreamOf(badCache)
  const good = beside === 'alone' ? undefined : await upstreamOf(cache)
  const starter = moment.relayed?.(fault) === true ? await upstreamOf(cache) : undefined
  bad.script('/login', { html: true })

  const first = [...(starter ? [starter.url] : []), bad.url]
  const strata =
    good === undefined ? [first] : beside === 'beside a good one' ? [[...first, good.url]] : [first, [good.url]]
  // With a good one, nothing but the hedge can save a client from one that hangs: no limit of the bad one's ends in time.
  const patient = good !== undefined && moment.begun?.(fault) !== true
  const quick = good ? '3s' : '1500ms'
  const slow = fault.name === '1 byte a second' || !patient ? quick : '10m'
  const proxy = await startProxy({
    keys: [cache.publicKey],
    strata,
    stratum: 'hedge = "50ms"',
    server: `deadline = "${good === undefined ? '3s' : '10m'}"`,
    upstream: [
      `connect_timeout = "${patient ? '10m' : quick}"`,
      `first_byte_timeout = "${patient ? '10m' : quick}"`,
      `low_speed = "100B"\nlow_speed_time = "${slow}"`,
      // A miss that was remembered shows.
      'miss_ttl = "1h"',
    ].join('\n'),
  })
  await vi.waitFor(async () => expect((await proxy.nar(held.hash)).body.equals(held.file)).toBe(true), 20_000)
  await proxy.quiet()

  const [forBad, forGood] = [gate(), gate()]
  if (moment.play !== askNarinfo) {
    if (starter) bad.script(entry.narinfoPath, { until: forBad.opened })
    good?.script(entry.narinfoPath, { until: forGood.opened })
  }
  let deaf: Awaited<ReturnType<typeof deafAt>> | undefined
  const hostFails = async (): Promise<void> => {
    if (!('host' in strike)) return
    await bad.down()
    if (strike.host === 'deaf') deaf = await deafAt(bad.port)
  }
  const { open: letBad } = forBad
  const { open: letGood } = forGood
  const about = { fault, strike, beside, proxy, entry, held, fresh, bad, good, starter, letBad, letGood, hostFails }
  const scene: Scene = lie ? { ...about, lie } : about

  try {
    await promised(moment, scene, async () => {
      await deaf?.close()
      deaf = undefined
      bad.unscript()
      for (const [path, file] of cache.files) badCache.files.set(path, file)
      await bad.up()
    })
  } finally {
    await deaf?.close()
    await proxy.stop()
  }
  played.cells += 1
}

/** What holds in every cell. */
async function promised(moment: Moment, scene: Scene, mend: () => Promise<void>): Promise<void> {
  const { proxy, fault, strike, good, entry } = scene
  const late = 'late' in strike && strike.late
  const began = performance.now()
  const seen = await moment.play(scene)
  // Of 50 clients in each of 16 cells the machine may have its fill.
  if (good && seen.length === 1) expect(performance.now() - began, 'ms until all was well').toBeLessThan(soon)
  for (const one of seen) {
    if (good && !late) expect(isRight(scene, one), `with a good one: ${told(one)}`).toBe(true)
    else expect(isRight(scene, one) || isHonest(one), told(one)).toBe(true)
    // "Gone" ends a client's hope: of a NAR only who denies it may make us say so.
    if (one?.status === 404) expect(moment.play === askNarinfo || fault.denies, 'a NAR is gone').toBe(true)
  }
  await proxy.quiet()

  if (good) {
    // The next client is served rightly, though the bad one is as bad as ever.
    const next = await whole(scene)
    expect(isRight({ entry }, next), `the next client: ${told(next)}`).toBe(true)
    await proxy.quiet()
  }

  // Nobody is left to ask: whatever is told now was kept, and must be true.
  await Promise.all([scene.bad.down(), good?.down(), scene.starter?.down()])
  const kept = await whole(scene)
  expect(kept?.status === 200 ? isRight({ entry }, kept) : isHonest(kept), told(kept)).toBe(true)
  expect((await proxy.nar(scene.held.hash)).body.equals(scene.held.file)).toBe(true)
  if (good) {
    expect(kept?.status, 'it was kept').toBe(200)
    return
  }

  // Once it is well again nothing is lost: no miss and no lie is remembered.
  await mend()
  await vi.waitFor(
    async () => {
      const mended = await whole(scene)
      expect(isRight({ entry }, mended), `mended: ${told(mended)}`).toBe(true)
    },
    { timeout: 20_000, interval: 50 },
  )
  expect((await proxy.narinfo(entry.hash)).status).toBe(200)
}

/** The narinfo is asked for; the bad one is heard before the good one. */
async function askNarinfo(scene: Scene): Promise<readonly Seen[]> {
  const { fault, strike, proxy, entry, held, bad, good } = scene
  await scene.hostFails()
  if ('does' in strike) {
    bad.script(entry.narinfoPath, strike.does(entry, held))
    const heard = bad.seen(entry.narinfoPath).then(() => (fault.hangs ? undefined : bad.idle()))
    good?.script(entry.narinfoPath, { until: heard })
  }
  const [told] = await Promise.all([proxy.narinfo(entry.hash), bystanders(scene)])
  if ('does' in strike) expect(bad.count(entry.narinfoPath)).toBeGreaterThan(0)
  if (good) {
    await expectStillHanging(scene)
    expect(withoutUrl(told.body.toString())).toBe(withoutUrl(entry.narinfo))
    return [await whole(scene)]
  }
  expect(told.status).toBe(404)
  return [{ status: 404, body: told.body }]
}

/** The narinfo is the bad one's, and then its NAR is asked for. */
async function askNar(scene: Scene): Promise<readonly Seen[]> {
  const { strike, proxy, entry, bad } = scene
  const url = await proxy.narUrl(entry.hash)
  await scene.hostFails()
  if ('does' in strike) bad.script(entry.narPath, strike.does(entry, scene.held))
  scene.letGood()
  const asked = bad.count(/^\/nar\//)
  const [seen] = await Promise.all([get(scene, url), bystanders(scene)])
  if (!('host' in strike)) expect(bad.count(/^\/nar\//)).toBeGreaterThan(asked)
  if (scene.good && scene.fault.name !== '1 byte a second') await expectStillHanging(scene)
  return [seen]
}

/** So many clients have the first half of the bad one's NAR when it fails. */
async function follow(scene: Scene, clients: number): Promise<readonly Seen[]> {
  const { strike, proxy, entry, bad } = scene
  const url = await proxy.narUrl(entry.hash)
  const struck = gate()
  if (!('does' in strike)) throw new Error('no such fault in the middle')
  bad.script(entry.narPath, { ...strike.does(entry, scene.held), hold: { after: half, until: struck.opened } })
  const answers = await begin(`${proxy.url}/${url}`, clients)
  expect(bad.count(entry.narPath), fewFetches).toBeLessThan(5)
  scene.letGood()
  struck.open()
  const [seen] = await Promise.all([Promise.all(answers.map(({ rest }) => rest)), bystanders(scene)])
  return seen
}

/** So many clients have the first half when its giver dies, and the bad one is asked for the second, or, before that, for its narinfo. */
async function relay(scene: Scene, clients: number, path = scene.entry.narPath): Promise<readonly Seen[]> {
  const { fault, strike, proxy, entry, bad, good, starter } = scene
  starter?.script(entry.narPath, { stallAfter: half })
  const url = await proxy.narUrl(entry.hash)
  const answers = await begin(`${proxy.url}/${url}`, clients)
  expect(starter?.count(entry.narPath), fewFetches).toBeLessThan(5)
  const asked = bad.count(path)
  const resumed = bad.seen(path, asked + 1)
  if ('does' in strike) bad.script(path, strike.does(entry, scene.held))
  scene.letBad()
  await scene.hostFails()
  if ('host' in strike) scene.letGood()
  else void resumed.then(scene.letGood)
  await starter?.down()
  const [seen] = await Promise.all([Promise.all(answers.map(({ rest }) => rest)), bystanders(scene)])
  if ('does' in strike) {
    expect(bad.count(path)).toBeGreaterThan(asked)
    for (const { path, headers } of bad.requests)
      if (path === entry.narPath) expect(headers.range).toMatch(/^bytes=\d+-$/)
  }
  if (good && fault.name !== '1 byte a second') await expectStillHanging(scene)
  return seen
}

/** Meanwhile others ask for what is here, and for what the good one has. */
async function bystanders({ proxy, held, fresh, good }: Scene): Promise<void> {
  expect((await proxy.nar(held.hash)).body.equals(held.file)).toBe(true)
  if (good) expect((await proxy.nar(fresh.hash)).body.equals(fresh.file)).toBe(true)
}

/** The answer came while the bad one still hung: it has not been given up for its own limits. */
async function expectStillHanging({ fault, proxy, bad }: Scene): Promise<void> {
  if (!fault.hangs) return
  const { body } = await proxy.get('', { accept: 'application/json' })
  const { strata } = JSON.parse(body.toString()) as {
    readonly strata: readonly {
      readonly substituters: readonly { readonly url: string; readonly lastFailure?: string }[]
    }[]
  }
  const one = strata.flatMap(({ substituters }) => substituters).find(({ url }) => url === bad.url.href)
  expect(one).toBeDefined()
  expect(one?.lastFailure).toBeUndefined()
}

/** A narinfo and its NAR, as a client comes by them; of the narinfo alone, where it is not had. */
async function whole(scene: Scene): Promise<Seen> {
  const { proxy, entry } = scene
  const narinfo = await proxy.narinfo(entry.hash)
  if (narinfo.status !== 200) return narinfo
  expect(narinfo.body.toString()).toContain(/^Sig: .*\n/m.exec(entry.narinfo)?.[0])
  return get(scene, /^URL: (.*)$/m.exec(narinfo.body.toString())?.[1] ?? '')
}

function get({ proxy }: Scene, url: string): Promise<Seen> {
  return proxy.get(url).catch(() => undefined)
}

/** So many answers whose heads are here; each is read from its beginning, for a cut that nobody listens for is not told. */
function begin(url: string, clients: number): Promise<readonly { readonly rest: Promise<Seen> }[]> {
  return Promise.all(Array.from({ length: clients }, async () => ({ rest: restOf(await openAnswer(url)) })))
}

function restOf(answer: IncomingMessage): Promise<Seen> {
  return new Promise((resolve) => {
    const parts: Buffer[] = []
    answer.on('data', (part: Buffer) => parts.push(part))
    answer.once('error', () => resolve(undefined))
    answer.once('close', () => resolve(undefined))
    answer.once('end', () => resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(parts) }))
  })
}

/** The NAR that was signed; or the file that its narinfo names by FileHash, which the client will hold against NarHash. */
function isRight({ entry, lie }: Pick<Scene, 'entry' | 'lie'>, seen: Seen): boolean {
  return seen?.status === 200 && (seen.body.equals(entry.file) || (lie !== undefined && seen.body.equals(lie)))
}

/** Broken off, or said in words that make no client give up on everything. */
function isHonest(seen: Seen): boolean {
  return seen === undefined || [404, 502, 504].includes(seen.status)
}

function told(seen: Seen): string {
  return seen ? `${seen.status} with ${seen.body.length} bytes` : 'cut'
}

function withoutUrl(narinfo: string): string {
  return narinfo.replace(/^URL: .*$/m, '')
}

function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => {}
  const opened = new Promise<void>((go) => (open = go))
  return { opened, open }
}

async function upstreamOf(cache: SyntheticCache): Promise<ScriptedUpstream> {
  const upstream = await startScriptedUpstream({ cache })
  onTestFinished(() => upstream.close())
  return upstream
}

function counted(wanted: (strike: Strike) => boolean): number {
  return company.length * moments.flatMap(({ strike }) => faults.map(strike)).filter(wanted).length
}
