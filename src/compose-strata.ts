// The half of the composition root that looks outwards: strata, upstreams and peers, as the configuration has them.

import type { Config, UpstreamConfig } from './config.ts'
import type { Credentials } from './credentials.ts'
import type { SurveyedStratum } from './explanation.ts'
import type { Log } from './log.ts'
import type { TrustedKeys } from './nix/signature.ts'
import type { StoreHash } from './nix/store-path.ts'
import type { StratumStatus, SubstituterState, SubstituterStatus } from './server/status.ts'
import type { Asking, Substituter } from './substituter.ts'
import { staticPeers, type Peer, type PeerSource } from './upstreams/peer-source.ts'
import { Peers } from './upstreams/peers.ts'
import { Resources, type ResourceSource } from './upstreams/resources.ts'
import { Strata } from './upstreams/strata.ts'
import { Stratum } from './upstreams/stratum.ts'
import { survey } from './upstreams/survey.ts'
import { Uplink, type UplinkState } from './upstreams/uplink.ts'
import { Upstream } from './upstreams/upstream.ts'

export interface StrataSurroundings {
  readonly instanceId: string
  readonly version: string
  readonly log: Log
}

/** Everything that is asked over the network. */
export interface Outside {
  /** All strata as one substituter. */
  readonly strata: Substituter
  /** Logs, listings and NARs under foreign URLs, from the same strata. */
  readonly resources: Resources
  /** Whether a substituter of this name would be asked now. */
  readonly reachable: (name: string) => boolean
  /** Asks everybody about a path, also those who said no a moment ago, and lets all of them finish, until the signal fires. */
  survey(hash: StoreHash, asking: Pick<Asking, 'signal' | 'loop'>): Promise<readonly SurveyedStratum[]>
  status(): readonly StratumStatus[]
  /** How the link to the configured upstreams is. */
  uplink(): UplinkState
  /** Begins what upstreams do in the background. */
  start(): void
  /** Closes every connection. */
  stop(): Promise<void>
}

export function composeStrata(config: Config, credentials: Credentials, surroundings: StrataSurroundings): Outside {
  const { log } = surroundings
  const source = staticPeers(config.peers)
  const uplink = new Uplink({ log })
  const strata = config.strata.map(({ name, hedge, peers, upstreams }) => {
    const configured = upstreams.map((upstream) =>
      upstreamOf(upstream, name, config, credentials, surroundings, uplink),
    )
    const live = peers ? peersIn(name, source, config, credentials.keys, surroundings) : undefined
    const members = (): readonly (Substituter & ResourceSource)[] => [...(live?.members() ?? []), ...configured]
    return { name, hedge, configured, live, members, substituter: new Stratum({ name, members }) }
  })
  const everybody = (): readonly Upstream[] =>
    strata.flatMap(({ configured, live }) => [...configured, ...(live?.upstreams() ?? [])])
  log.debug('strata', { names: strata.map(({ name }) => name).join(' ') })
  return {
    strata: new Strata({ strata }),
    resources: new Resources({ strata }),
    reachable: (name) =>
      everybody().some((upstream) => upstream.name === name && upstream.health.refusal() === undefined),
    survey: (hash, asking) => {
      for (const upstream of everybody()) upstream.forget(hash)
      return survey({ hash }, strata, asking)
    },
    status: () =>
      strata.map(({ name, hedge, configured, live }) => ({
        name,
        hedge,
        substituters: [...(live?.upstreams() ?? []), ...configured].map(statusOf),
      })),
    start: () => {
      for (const { configured } of strata) for (const upstream of configured) upstream.start()
    },
    uplink: () => uplink.state,
    stop: async () => {
      uplink.close()
      await Promise.all(
        strata.flatMap(({ configured, live }) => [...configured, ...(live ? [live] : [])].map((one) => one.stop())),
      )
    },
  }
}

function upstreamOf(
  upstream: UpstreamConfig,
  stratum: string,
  { server }: Config,
  { keys, headers }: Credentials,
  { instanceId, version, log }: StrataSurroundings,
  uplink: Uplink,
): Upstream {
  return new Upstream({
    name: upstream.name,
    url: new URL(upstream.url),
    zone: upstream.zone,
    stratum,
    storeDir: server.storeDir,
    keys,
    peer: false,
    presence: upstream.presence,
    headers: headers.get(upstream.name) ?? {},
    allowedHosts: upstream.allowedHosts,
    limits: {
      connect: upstream.connectTimeout,
      firstByte: upstream.firstByteTimeout,
      lowSpeed: { bytesPerSecond: upstream.lowSpeed.bytesPerSecond, window: upstream.lowSpeed.for },
      lookups: upstream.concurrency,
      connections: upstream.connections,
      missTtl: upstream.missTtl,
    },
    instanceId,
    userAgent: `substrata/${version}`,
    log,
    uplink,
  })
}

function peersIn(
  stratum: string,
  source: PeerSource,
  { server, strata }: Config,
  keys: TrustedKeys,
  { instanceId, version, log }: StrataSurroundings,
): Peers<Upstream> {
  // A peer's lies are held against its name: under that of an upstream it would have the upstream avoided.
  const taken = new Set(strata.flatMap(({ upstreams }) => upstreams.map(({ name }) => name)))
  const makeUpstream = ({ id, presence }: Peer, url: URL): Upstream =>
    new Upstream({
      name: taken.has(id) ? `peer ${id}` : id,
      url,
      stratum,
      storeDir: server.storeDir,
      keys,
      peer: true,
      presence,
      headers: {},
      allowedHosts: [],
      instanceId,
      userAgent: `substrata/${version}`,
      log,
    })
  return new Peers({ source, makeUpstream, log })
}

const states = {
  ok: 'well',
  open: 'resting',
  probing: 'resting',
  cooldown: 'resting',
  disabled: 'excluded',
} as const satisfies Record<string, SubstituterState>

function statusOf(upstream: Upstream): SubstituterStatus {
  const { name, url, peer, state, latency, lastFailure, failuresInARow } = upstream.status()
  const asked = latency !== undefined || lastFailure !== undefined
  return {
    name,
    url,
    peer,
    state: state === 'ok' ? (failuresInARow > 0 ? 'failing' : asked ? 'well' : 'untried') : states[state],
    latencyMs: latency,
    lastFailure: failuresInARow > 0 || state !== 'ok' ? lastFailure : undefined,
  }
}
