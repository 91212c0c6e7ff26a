import type { LookupFunction } from 'node:net'

import { expect, onTestFinished, test } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import { createLog } from '../../src/log.ts'
import { parsePublicKey } from '../../src/nix/signature.ts'
import { Trail } from '../../src/trail.ts'
import { BadStatus, NotTheCache } from '../../src/upstreams/failures.ts'
import { Uplink } from '../../src/upstreams/uplink.ts'
import { Upstream } from '../../src/upstreams/upstream.ts'
import { startScriptedUpstream } from '../support/scripted-upstream.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'

const cut = new ProxyError('unreachable', 'upstream a: no route to it')
const slow = new ProxyError('timeout', 'upstream a: no connection in time')
const login = new NotTheCache('upstream a', 'a web page instead of a narinfo')
const broken = new BadStatus('upstream a', 500)

/** An uplink with so many upstreams; `said` are the lines of each alone, `hurried` who is to be probed when. */
function linkTo(count: number, patience = 0) {
  const lines: string[] = []
  const hurried: [number, number][] = []
  let waiting = (): void => {}
  const write = (line: string): void => {
    lines.push(line.slice(25).trimEnd())
    waiting()
  }
  const log = createLog({ level: 'info', format: 'text', write })
  const uplink = new Uplink({ log, patience, clock: () => 0, random: () => 0.5 })
  onTestFinished(() => uplink.close())
  const members = Array.from({ length: count }, (_, at) => {
    const member = { counts: true }
    const hurry = (ms: number): void => void hurried.push([at, ms])
    const overseer = uplink.join({ counts: () => member.counts, hurry })
    const away = (failure: ProxyError): void => overseer.away(failure, () => log.warn(`own line of ${at}`))
    return { member, away, back: (proved = true) => overseer.back(proved) }
  })
  const line = (): Promise<void> => new Promise((resolve) => (waiting = resolve))
  return { uplink, members, lines, hurried, line }
}

const offline = (count: number): string =>
  `warn  uplink: offline, none of ${count} upstreams does answer; what is held is served, the rest is tried again ` +
  'every few seconds why="upstream a: no route to it"'

test('all upstreams away for the link’s sake are one event, one line there and one back', () => {
  const { uplink, members, lines } = linkTo(3)
  for (const [at, { away }] of members.entries()) {
    expect(uplink.state).toBe('ok')
    away(at === 1 ? slow : cut)
  }
  expect(uplink.state).toBe('offline')
  for (const { away } of members) away(slow)
  members[2]?.back()
  expect(uplink.state).toBe('ok')
  members[0]?.back()
  members[1]?.back()
  expect(lines).toEqual([offline(3), 'info  uplink: is back after=0s'])
})

test('the first who is back has the others probed, each within a second', () => {
  const { members, hurried } = linkTo(3)
  for (const { away } of members) away(cut)
  expect(hurried).toEqual([])
  members[1]?.back(false)
  expect(hurried).toEqual([
    [0, 500],
    [2, 500],
  ])
})

test('one dead upstream beside a live one is its own affair, and says so itself', async () => {
  const { uplink, members, lines, line } = linkTo(2)
  const said = line()
  members[0]?.away(cut)
  expect([uplink.state, lines]).toEqual(['ok', []])
  await said
  expect(lines).toEqual(['warn  own line of 0'])
})

test('a server in trouble is no link in trouble', () => {
  const { uplink, members, lines } = linkTo(2, 60_000)
  members[0]?.away(broken)
  members[1]?.away(cut)
  expect([uplink.state, lines]).toEqual(['ok', ['warn  own line of 0']])
})

test('a server that answers a probe, be it with 500, has been reached', () => {
  const { uplink, members, lines } = linkTo(2)
  for (const { away } of members) away(cut)
  members[0]?.away(broken)
  expect([uplink.state, lines]).toEqual(['ok', [offline(2), 'info  uplink: is back after=0s']])
})

test('a web page instead of one upstream means a portal in front of those who cannot be reached, too', () => {
  const { uplink, members, lines } = linkTo(2)
  for (const { away } of members) away(cut)
  members[1]?.away(login)
  members[1]?.away(login)
  expect(uplink.state).toBe('portal')
  expect(lines).toEqual([offline(2), expect.stringMatching(/^warn {2}uplink: behind a captive portal, it seems/)])
})

test('an upstream for another store says nothing about the link, and nobody at all is not offline', () => {
  const { uplink, members } = linkTo(2)
  const [one, other] = members
  if (one) one.member.counts = false
  other?.away(cut)
  expect(uplink.state).toBe('offline')
  expect(linkTo(0).uplink.state).toBe('ok')
})

test('lucky probes make no further lines, an answered question does', () => {
  const { members, lines } = linkTo(1)
  for (let n = 0; n < 5; n += 1) {
    members[0]?.away(cut)
    members[0]?.back(false)
  }
  expect(lines).toHaveLength(2)
  members[0]?.back(true)
  members[0]?.away(cut)
  expect(lines).toHaveLength(3)
})

test('dead DNS is offline, seen within three questions, and over as soon as names are known again', async () => {
  const cache = new SyntheticCache()
  const entry = cache.add()
  const server = await startScriptedUpstream({ cache })
  onTestFinished(() => server.close())
  let dead = true
  const lookup: LookupFunction = (_name, options, callback) => {
    const failure = Object.assign(new Error('getaddrinfo EAI_AGAIN'), { code: 'EAI_AGAIN' })
    if (dead) callback(failure, [])
    else if (options.all === true) callback(null, [{ address: '127.0.0.1', family: 4 }])
    else callback(null, '127.0.0.1', 4)
  }
  const lines: string[] = []
  let changed = (): void => {}
  const write = (line: string): void => {
    lines.push(line.slice(25).trimEnd())
    changed()
  }
  const log = createLog({ level: 'info', format: 'text', write })
  const uplink = new Uplink({ log, random: () => 0 })
  const upstreams = ['one', 'two', 'three'].map((name) => {
    const url = new URL(`http://${name}.test:${server.port}/`)
    const keys = [parsePublicKey(cache.publicKey)]
    const common = {
      storeDir: '/nix/store',
      stratum: 's',
      peer: false,
      presence: 'stationary',
      instanceId: 'i',
    } as const
    return new Upstream({ ...common, name, url, keys, lookup, uplink, log, random: () => 0 })
  })
  onTestFinished(async () => {
    uplink.close()
    await Promise.all(upstreams.map((upstream) => upstream.stop()))
  })
  const ask = (upstream: Upstream) =>
    upstream.find({ hash: entry.hash }, { signal: new AbortController().signal, trail: new Trail(), loop: [] })

  for (const upstream of upstreams) for (let n = 0; n < 3; n += 1) await expect(ask(upstream)).rejects.toThrow()
  expect(uplink.state).toBe('offline')
  expect(lines).toEqual([expect.stringContaining('its name cannot be looked up now')])

  const well = new Promise<void>((resolve) => {
    changed = () => uplink.state === 'ok' && resolve()
  })
  dead = false
  await well
  for (const upstream of upstreams) await expect.poll(() => upstream.health.state).toBe('ok')
  for (const upstream of upstreams) expect((await ask(upstream))?.narinfo.storePath.hash).toBe(entry.hash)
  expect(lines.slice(1)).toEqual([expect.stringContaining('uplink: is back')])
})
