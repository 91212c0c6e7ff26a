// Why a store path comes from where it comes: who was asked, what each answered, who is taken and why. Pure: it reads what was
// recorded, and the terminal, the page and JSON print it.

import type { NarInfo } from './nix/narinfo.ts'
import type { TrustedKeys } from './nix/signature.ts'
import type { StoreHash } from './nix/store-path.ts'
import type { Substitute } from './substituter.ts'
import type { Outcome, Trail, TrailEntry } from './trail.ts'

/** A stratum whose members were all asked, and all let finish. */
export interface SurveyedStratum {
  readonly name: string
  /** Milliseconds after which the next stratum would be asked too. */
  readonly hedge: number
  readonly members: readonly SurveyedMember[]
}

/** One member of a stratum, and what it came back with. */
export interface SurveyedMember {
  readonly name: string
  /** What it wrote down: an entry for each of its addresses. */
  readonly trail: Trail
  /** Milliseconds until it had answered; undefined: it had not when the time was over. */
  readonly ms: number | undefined
  /** It could not answer, or was not asked because it lately could not. */
  readonly failed: boolean
  readonly substitute: Substitute | undefined
}

/** What is known of whoever is asked, besides its answer. */
export interface Addressee {
  readonly name: string
  readonly stratum: string
  /** Without credentials. */
  readonly url: string
  readonly peer: boolean
  /** What went wrong last, while it is not yet well again. */
  readonly lastFailure: string | undefined
}

/** A NAR that is on disk. */
export interface StoreEntry {
  /** Path of the NAR file. */
  readonly file: string
  /** Of the NAR file, in bytes. */
  readonly size: number
  /** Since when it is here, in ms since 1970. */
  readonly since: number
  /** Name of the substituter that gave it; undefined where only the catalogue would know, and was not read. */
  readonly from: string | undefined
  /** `nar`: its NarHash was proved, `file`: only its FileHash; undefined as above. */
  readonly checked: 'nar' | 'file' | undefined
  readonly pinned: boolean
  readonly uploaded: boolean
  readonly narinfo: NarInfo
  /** Whether it is served: a trusted key vouches for it, or there are no keys. */
  readonly trusted: boolean
  /** Name of that key; `ca` where the path proves itself. */
  readonly signedBy: string | undefined
}

/** Everything that was found out about one path. */
export interface Findings {
  readonly hash: StoreHash
  readonly storeDir: string
  readonly keys: TrustedKeys
  /** What clients are told when nobody has it and somebody could not answer. */
  readonly unreachable: 'miss' | 'error'
  /** When the question began, in ms since 1970, and how long it took, in ms. */
  readonly askedAt: number
  readonly took: number
  readonly held: readonly StoreEntry[]
  /** An answer that is still passed on without asking anybody. */
  readonly remembered: Pick<Substitute, 'narinfo' | 'from' | 'signedBy'> | undefined
  readonly strata: readonly SurveyedStratum[]
  readonly addressees: readonly Addressee[]
}

export interface Explanation {
  readonly hash: StoreHash
  /** `/nix/store/sp69…-demo-2`; without a name where nobody knows it. */
  readonly storePath: string
  /** Milliseconds since 1970. */
  readonly askedAt: number
  /** Milliseconds until everybody had answered. */
  readonly took: number
  /** Names of the trusted keys. None: nothing is verified. */
  readonly keys: readonly string[]
  readonly verdict: Verdict
  readonly held: readonly ExplainedEntry[]
  readonly strata: readonly ExplainedStratum[]
}

/** What a client that asks now is told. */
export interface Verdict {
  /** `held`: on disk. `remembered`: an earlier answer. `found`: somebody has it. `missed`: nobody has. `unreachable`: who knows. */
  readonly kind: 'held' | 'remembered' | 'found' | 'missed' | 'unreachable'
  /** A sentence without its end: `nobody in stratum near has it`. */
  readonly why: string
  /** Name of whoever gives it; `store` for our own disk. */
  readonly from: string | undefined
  /** Name of the trusted key whose signature it carries; `ca` where the path proves itself. */
  readonly signedBy: string | undefined
  /** Names of all keys whose signatures it carries, as it says. */
  readonly signatures: readonly string[]
  readonly nar: ExplainedNar | undefined
}

export interface ExplainedNar {
  /** The file, or the address that it would be fetched from; without a query, which may be somebody's credentials. */
  readonly place: string
  readonly compression: string
  /** Bytes as it travels; undefined when nobody has said. */
  readonly fileSize: number | undefined
  readonly narSize: number
  /** `sha256:<nix32>` */
  readonly narHash: string
}

export type ExplainedEntry = Omit<StoreEntry, 'narinfo'> & { readonly signatures: readonly string[] }

export interface ExplainedStratum {
  readonly name: string
  readonly hedge: number
  /** When a client's question would come here, by these answers, in ms; undefined: it would have been answered before. */
  readonly turn: number | undefined
  readonly answers: readonly ExplainedAnswer[]
}

export interface ExplainedAnswer {
  readonly who: string
  /** Undefined where it has several. */
  readonly url: string | undefined
  readonly peer: boolean
  /** Milliseconds from the beginning of the question. */
  readonly askedAt: number
  /** Milliseconds until it answered. */
  readonly ms: number | undefined
  /** `silent`: it had not answered when the time was over. `outrun`: another address of the same peer was faster. */
  readonly outcome: Exclude<Outcome['kind'], 'pending'> | 'silent' | 'outrun'
  /** Why it is not taken, where it could have been. */
  readonly why: string | undefined
  readonly signedBy: string | undefined
  /** Names of the keys whose signatures its narinfo carries. */
  readonly signatures: readonly string[]
  /** It is the one that a client's question would have been answered by. */
  readonly wins: boolean
}

/** Makes sense of it all. Who wins is worked out from the times of these answers, by the rules of the race (upstreams/race.ts). */
export function explain(findings: Findings): Explanation {
  const { hash, storeDir, askedAt, took, keys, held, remembered, strata, addressees } = findings
  const race = runRace(strata)
  const known = [...held, remembered, race.winner?.substitute].find((one) => one !== undefined)
  return {
    hash,
    storePath: known?.narinfo.storePath.path ?? `${storeDir}/${hash}`,
    askedAt,
    took,
    keys: keys.map(({ name }) => name),
    verdict: verdictOf(findings, race),
    held: held.map(({ narinfo, ...entry }) => ({ ...entry, signatures: keyNames(narinfo) })),
    strata: strata.map(({ name, hedge, members }, index) => ({
      name,
      hedge,
      turn: race.turns[index],
      answers: members.flatMap((member) =>
        answersOf(
          member,
          addressees.filter((one) => one.name === member.name && one.stratum === name),
          member === race.winner,
        ),
      ),
    })),
  }
}

interface Race {
  readonly winner: SurveyedMember | undefined
  /** When each stratum has its turn, in ms; undefined: never. */
  readonly turns: readonly (number | undefined)[]
}

/** The race as it would be, did everybody answer a client as fast as now. */
function runRace(strata: readonly SurveyedStratum[]): Race {
  const turns: (number | undefined)[] = []
  let winner: SurveyedMember | undefined
  let [wonAt, turn] = [Infinity, 0]
  for (const { hedge, members } of strata) {
    if (wonAt <= turn) {
      turns.push(undefined)
      continue
    }
    turns.push(turn)
    let saidNo = turn
    for (const member of members) {
      const answered = turn + (member.ms ?? Infinity)
      saidNo = Math.max(saidNo, member.substitute ? Infinity : answered)
      if (!member.substitute || answered >= wonAt) continue
      winner = member
      wonAt = answered
    }
    turn = Math.min(turn + hedge, saidNo)
  }
  return { winner, turns }
}

function verdictOf(findings: Findings, race: Race): Verdict {
  const { held, remembered, strata, addressees, unreachable } = findings
  const entry = held.find(({ trusted }) => trusted)
  if (entry) {
    const why = 'it is on disk, and nobody is asked'
    return { kind: 'held', why, from: 'store', ...contents(entry, entry.file, entry.size) }
  }
  const { substitute } = race.winner ?? {}
  const placeOf = (from: string, { url }: NarInfo): string =>
    placeAt(
      addressees.filter(({ name }) => name === from),
      url,
    )
  if (remembered) {
    const { from, narinfo } = remembered
    const why = `${from} said so a while ago, which is passed on until its time is over or ${from} cannot be reached`
    return { kind: 'remembered', why, from, ...contents(remembered, placeOf(from, narinfo)) }
  }
  if (substitute) {
    const { from, narinfo } = substitute
    return { kind: 'found', why: whyWon(strata, race), from, ...contents(substitute, placeOf(from, narinfo)) }
  }
  const nothing = { from: undefined, signedBy: undefined, signatures: [], nar: undefined }
  const members = strata.flatMap((stratum) => stratum.members)
  const lost = members.filter(({ failed, ms }) => failed || ms === undefined)
  if (members.length === 0) return { kind: 'missed', why: 'there is nobody to ask', ...nothing }
  if (lost.length === 0) return { kind: 'missed', why: 'everybody says no', ...nothing }
  const told = { miss: 'that there is no such path', error: 'to try again' }[unreachable]
  const why = `nobody has it, and ${named(lost)} could not answer; clients are told ${told} (server.unreachable = "${unreachable}")`
  return { kind: 'unreachable', why, ...nothing }
}

/** What was decided for the winner: its speed in its stratum, and what those before it were like. */
function whyWon(strata: readonly SurveyedStratum[], { winner }: Race): string {
  const at = strata.findIndex(({ members }) => members.some((member) => member === winner))
  const stratum = strata[at]
  if (!winner || !stratum) return ''
  const having = stratum.members.filter(({ substitute }) => substitute)
  const place = `in stratum ${stratum.name}`
  const reasons = [having.length === 1 ? `only it has it ${place}` : `it is the fastest of ${having.length} ${place}`]
  for (const { name, hedge, members } of strata.slice(0, at)) {
    if (members.some(({ substitute }) => substitute))
      reasons.push(`stratum ${name} is slower, by more than its ${hedge} ms`)
    else if (members.length > 0) reasons.push(`nobody in stratum ${name} has it`)
  }
  return reasons.join('; ')
}

function contents(
  { narinfo, signedBy }: Pick<Substitute, 'narinfo' | 'signedBy'>,
  place: string,
  size = narinfo.fileSize,
): Pick<Verdict, 'signedBy' | 'signatures' | 'nar'> {
  const { compression, narSize, narHash } = narinfo
  const nar = { place, compression, fileSize: size, narSize, narHash: `sha256:${narHash}` }
  return { signedBy, signatures: keyNames(narinfo), nar }
}

/** Where a URL field leads, as far as it is clear which address it is relative to. */
function placeAt(addressees: readonly Addressee[], url: string): string {
  const [only, ...others] = addressees
  const base = others.length === 0 ? only?.url : undefined
  const whole = base !== undefined && URL.canParse(url, base) ? new URL(url, base).href : url
  return whole.split('?', 1)[0] ?? ''
}

/** Its addresses' answers: several only where a peer has several. */
function answersOf(
  { trail, ms, substitute }: SurveyedMember,
  addressees: readonly Addressee[],
  wins: boolean,
): readonly ExplainedAnswer[] {
  const only = trail.entries.length === 1 && addressees.length === 1 ? addressees[0] : undefined
  return trail.entries.map((entry): ExplainedAnswer => {
    const { who, askedAt, answeredAt, outcome } = entry
    const found = outcome.kind === 'found' ? substitute : undefined
    return {
      who,
      url: only?.url,
      peer: addressees.some(({ peer }) => peer),
      askedAt,
      ms: answeredAt === undefined ? undefined : answeredAt - askedAt,
      outcome: outcome.kind !== 'pending' ? outcome.kind : ms === undefined ? 'silent' : 'outrun',
      why: whyNot(entry, only?.lastFailure),
      signedBy: outcome.kind === 'found' ? outcome.signedBy : undefined,
      signatures: found ? keyNames(found.narinfo) : [],
      wins: wins && found !== undefined,
    }
  })
}

function whyNot({ who, outcome }: TrailEntry, lastFailure: string | undefined): string | undefined {
  // Each sentence begins with who speaks, which stands beside it here.
  const bare = (text: string): string => text.replace(`upstream ${who}: `, '')
  if (outcome.kind === 'failed') return bare(outcome.why)
  if (outcome.kind === 'refused') return outcome.why
  if (outcome.kind !== 'skipped') return undefined
  return lastFailure === undefined ? outcome.why : `${outcome.why}; last it was: ${bare(lastFailure)}`
}

function keyNames({ signatures }: NarInfo): readonly string[] {
  return [...new Set(signatures.map(({ keyName }) => keyName))]
}

function named(members: readonly SurveyedMember[]): string {
  const names = members.slice(0, 5).map(({ name }) => name)
  const more = members.length - names.length
  return [...names, ...(more > 0 ? [`${more} more`] : [])].join(', ')
}
