// Promise: an explanation says who would win and why, by the rules of the race, and leaves nothing out that somebody answered.

import { describe, expect, test } from 'vitest'

import { explain, type Findings, type StoreEntry, type SurveyedMember } from '../src/explanation.ts'
import { parseNarInfo } from '../src/nix/narinfo.ts'
import { parsePublicKey } from '../src/nix/signature.ts'
import type { Substitute } from '../src/substituter.ts'
import { Trail, type Outcome } from '../src/trail.ts'
import { SyntheticCache } from './support/synthetic-cache.ts'

const cache = new SyntheticCache()
const hello = cache.add({ name: 'hello', compression: 'zstd', url: 'nar/x.nar.zst?secret=1' })
const narinfo = parseNarInfo(hello.narinfo, '/nix/store')
const found: Outcome = { kind: 'found', signedBy: 'cache.test-1' }

/** A member that came back after so many ms (undefined: never) with this outcome. */
function member(name: string, ms: number | undefined, outcome: Outcome): SurveyedMember {
  const trail = new Trail()
  trail.entries.push({ who: name, stratum: 's', askedAt: 0, answeredAt: ms, outcome })
  const substitute: Substitute = {
    narinfo,
    from: name,
    signedBy: 'cache.test-1',
    peer: false,
    open: () => Promise.reject(new Error('opened')),
  }
  const failed = outcome.kind === 'failed' || outcome.kind === 'pending'
  return { name, trail, ms, failed, substitute: outcome.kind === 'found' ? substitute : undefined }
}

const missed = (name: string, ms = 1): SurveyedMember => member(name, ms, { kind: 'missed' })
const has = (name: string, ms: number): SurveyedMember => member(name, ms, found)
const fails = (name: string, ms = 1): SurveyedMember =>
  member(name, ms, { kind: 'failed', code: 'unreachable', why: `upstream ${name}: connection refused` })
const silent = (name: string): SurveyedMember => member(name, undefined, { kind: 'pending' })

/** Strata with a hedge of 100 ms each. */
function about(members: readonly (readonly SurveyedMember[])[], more: Partial<Findings> = {}): Findings {
  return {
    hash: hello.hash,
    storeDir: '/nix/store',
    keys: [parsePublicKey(cache.publicKey)],
    unreachable: 'miss',
    askedAt: 1_700_000_000_000,
    took: 5,
    held: [],
    remembered: undefined,
    strata: members.map((some, index) => ({ name: `s${index}`, hedge: 100, members: some })),
    addressees: members.flatMap((some, index) =>
      some.map(({ name }) => ({
        name,
        stratum: `s${index}`,
        url: `http://${name}/base/`,
        peer: false,
        lastFailure: undefined,
      })),
    ),
    ...more,
  }
}

const turns = (findings: Findings): readonly (number | undefined)[] => explain(findings).strata.map(({ turn }) => turn)

describe('who wins', () => {
  test.each([
    ['the only one', [[has('a', 50)]], 'a', 'only it has it in stratum s0', [0]],
    [
      'the fastest of a stratum',
      [[has('a', 50), has('b', 20), missed('c')]],
      'b',
      'it is the fastest of 2 in stratum s0',
      [0],
    ],
    [
      'the next stratum, as soon as the first has said no',
      [[missed('a', 5), fails('b', 7)], [has('c', 50)]],
      'c',
      'only it has it in stratum s1; nobody in stratum s0 has it',
      [0, 7],
    ],
    [
      'the first stratum within its hedge, though the next would be faster',
      [[has('a', 99)], [has('b', 1)]],
      'a',
      'only it has it in stratum s0',
      [0, undefined],
    ],
    [
      'the next stratum, where the first is slower by more than its hedge',
      [[has('a', 200)], [has('b', 50)]],
      'b',
      'only it has it in stratum s1; stratum s0 is slower, by more than its 100 ms',
      [0, 100],
    ],
    [
      'the first stratum after its hedge, where the next is slower still',
      [[has('a', 200)], [has('b', 150)]],
      'a',
      'only it has it in stratum s0',
      [0, 100],
    ],
    [
      'one behind a silent stratum',
      [[silent('a')], [], [has('c', 10)]],
      'c',
      'only it has it in stratum s2; nobody in stratum s0 has it',
      [0, 100, 100],
    ],
  ] as const)('%s', (_, members, winner, why, when) => {
    const { verdict, strata } = explain(about(members))
    expect(verdict).toMatchObject({ kind: 'found', from: winner, why, signedBy: 'cache.test-1' })
    expect(turns(about(members))).toEqual(when)
    expect(
      strata
        .flatMap(({ answers }) => answers)
        .filter(({ wins }) => wins)
        .map(({ who }) => who),
    ).toEqual([winner])
  })

  test('where its NAR would come from is told without the query that may be a secret', () => {
    expect(explain(about([[has('a', 1)]])).verdict.nar).toEqual({
      place: 'http://a/base/nar/x.nar.zst',
      compression: 'zstd',
      fileSize: hello.file.length,
      narSize: hello.nar.length,
      narHash: `sha256:${hello.narHash}`,
    })
  })

  test('nobody, when everybody says no, or there is nobody', () => {
    expect(explain(about([[missed('a')], [missed('b')]])).verdict).toMatchObject({
      kind: 'missed',
      why: 'everybody says no',
    })
    expect(explain(about([[]])).verdict).toMatchObject({ kind: 'missed', why: 'there is nobody to ask' })
  })

  test('nobody, and who could not answer is named, with what clients are told', () => {
    const lost = about([[missed('a'), fails('b')], [silent('c')]])
    const why = explain(lost).verdict.why
    expect(why).toBe(
      'nobody has it, and b, c could not answer; clients are told that there is no such path (server.unreachable = "miss")',
    )
    expect(explain({ ...lost, unreachable: 'error' }).verdict.why).toContain(
      'to try again (server.unreachable = "error")',
    )
  })
})

describe('what is here already', () => {
  const entry: StoreEntry = {
    file: '/store/v1/nar/he/hello.nar.zst',
    size: 4321,
    since: 1,
    from: 'a',
    checked: 'nar',
    pinned: true,
    uploaded: false,
    narinfo,
    trusted: true,
    signedBy: 'cache.test-1',
  }
  const remembered = { narinfo, from: 'b', signedBy: 'cache.test-1' }

  test('goes before everybody, and their answers are told all the same', () => {
    const { verdict, held, strata } = explain(about([[has('a', 1)]], { held: [entry], remembered }))
    expect(verdict).toMatchObject({ kind: 'held', from: 'store', nar: { place: entry.file, fileSize: 4321 } })
    expect(held).toMatchObject([{ file: entry.file, pinned: true, signatures: ['cache.test-1'] }])
    expect(held[0]).not.toHaveProperty('narinfo')
    expect(strata[0]?.answers).toHaveLength(1)
  })

  test('does not, when no trusted key vouches for it any more (case 144)', () => {
    const refused = { ...entry, trusted: false, signedBy: undefined }
    expect(explain(about([[has('a', 1)]], { held: [refused] })).verdict).toMatchObject({ kind: 'found', from: 'a' })
  })

  test('an earlier answer goes before new ones', () => {
    const { verdict } = explain(about([[has('a', 1)], [missed('b')]], { remembered }))
    expect(verdict).toMatchObject({ kind: 'remembered', from: 'b', nar: { place: 'http://b/base/nar/x.nar.zst' } })
  })
})

describe('what each answered', () => {
  test('has its outcome, its reason and its time', () => {
    const strange = member('d', 3, { kind: 'refused', why: 'no signature of a trusted key: it has none' })
    const [stratum] = explain(about([[has('a', 9), missed('b', 2), fails('c', 4), strange, silent('e')]])).strata
    expect(stratum?.answers.map(({ who, outcome, why, ms }) => [who, outcome, why, ms])).toEqual([
      ['a', 'found', undefined, 9],
      ['b', 'missed', undefined, 2],
      ['c', 'failed', 'connection refused', 4],
      ['d', 'refused', 'no signature of a trusted key: it has none', 3],
      ['e', 'silent', undefined, undefined],
    ])
    expect(stratum?.answers[0]).toMatchObject({
      url: 'http://a/base/',
      signedBy: 'cache.test-1',
      signatures: ['cache.test-1'],
    })
  })

  test('one that was not asked says what it last failed by', () => {
    const resting = { ...member('a', 0, { kind: 'skipped', why: 'circuit open' }), failed: true }
    const findings = about([[resting]])
    const lastFailure = 'upstream a: connection refused'
    const addressees = findings.addressees.map((one) => ({ ...one, lastFailure }))
    const { strata, verdict } = explain({ ...findings, addressees })
    expect(strata[0]?.answers[0]).toMatchObject({
      outcome: 'skipped',
      why: 'circuit open; last it was: connection refused',
    })
    expect(verdict.kind).toBe('unreachable')
  })

  test('of a peer at several addresses, the slower one is not called silent', () => {
    const peer = has('bob', 5)
    peer.trail.entries.push({
      who: 'bob',
      stratum: 's',
      askedAt: 0,
      answeredAt: undefined,
      outcome: { kind: 'pending' },
    })
    const findings = about([[peer]])
    const [one] = findings.addressees
    const { strata } = explain({ ...findings, addressees: [one!, { ...one!, url: 'http://other/' }] })
    expect(strata[0]?.answers.map(({ outcome, url }) => [outcome, url])).toEqual([
      ['found', undefined],
      ['outrun', undefined],
    ])
  })
})
