// What the operator wants, read from TOML or flags into one frozen object. Pure: it keeps paths, credentials.ts reads the files.

import { dirname, resolve } from 'node:path'

import { parse as parseToml, TomlError } from 'smol-toml'

import { complaint, complaints, describe } from './config-complaints.ts'
import { connectTimeouts, schema, type Parsed } from './config-schema.ts'
import { isKeyPath, splitZone } from './config-values.ts'
import { messageOf, ProxyError } from './errors.ts'
import type { LogFormat, LogLevel } from './log.ts'
import { printDuration } from './units.ts'

/** Durations are milliseconds, sizes bytes, paths absolute. Every default is in config-schema.ts. */
export interface Config {
  readonly server: ServerConfig
  readonly store: StoreConfig
  readonly trust: TrustConfig
  /** In the order in which they are asked. */
  readonly strata: readonly StratumConfig[]
  /** Binary caches near us that are always there to be asked; mesh and tunnel bring others. */
  readonly peers: readonly PeerConfig[]
  readonly log: LogConfig
}

export interface ServerConfig {
  /** `127.0.0.1:8501`, `[::1]:8501`, `unix:/path`. Sockets that systemd passes are used instead. */
  readonly listen: readonly string[]
  /** What clients are told in nix-cache-info: lower comes first, cache.nixos.org says 40. */
  readonly priority: number
  /** Nix's own directory, without a final slash. */
  readonly storeDir: string
  readonly unreachable: 'miss' | 'error'
  /** A narinfo is answered within this. */
  readonly deadline: number
  /** How long a stop waits for transfers that are under way. */
  readonly shutdown: number
  /** Ask for the narinfos of references before a client does. */
  readonly lookAhead: boolean
  /** Who may ask `/explain` besides this machine: `10.0.0.0/8`, always with a prefix length. */
  readonly explain: readonly string[]
  /** Undefined: uploads are refused. */
  readonly uploads: UploadsConfig | undefined
}

export interface UploadsConfig {
  /** Path of a file of `login:password` lines. */
  readonly credentials: string | undefined
  /** `192.0.2.0/24`, always with a prefix length. */
  readonly addresses: readonly string[]
  /** Whether uploaded entries may be evicted like others. */
  readonly evict: boolean
}

export interface StoreConfig {
  /** Undefined: the state directory that the program finds in its environment. */
  readonly path: string | undefined
  /** Undefined: only `minFree` bounds it. */
  readonly maxSize: number | undefined
  readonly minFree: number
  /** Bytes of memory for narinfos. */
  readonly memory: number
}

export interface TrustConfig {
  /** A key (`name:base64`), or the absolute path of a file of keys. Empty only where the operator allowed it: pass-through mode. */
  readonly keys: readonly string[]
}

export interface StratumConfig {
  readonly name: string
  /** Peers join this stratum. */
  readonly peers: boolean
  /** When nobody here has answered by then, the next stratum is asked too. */
  readonly hedge: number
  readonly upstreams: readonly UpstreamConfig[]
}

export interface UpstreamConfig {
  /** Normalised, with a final slash. */
  readonly url: string
  /** Interface of a link-local address in `url`: `wlan0`. */
  readonly zone: string | undefined
  /** Unique among all upstreams; by default the host. */
  readonly name: string
  readonly presence: Presence
  /** Path of a file of `Name: value` lines that are sent with every request. */
  readonly headers: string | undefined
  /** Path of a netrc file. */
  readonly netrc: string | undefined
  /** Other hosts that its NAR URLs and redirects may lead to: `cdn.example.org`, `*.example.org`, `10.0.0.7:8080`. */
  readonly allowedHosts: readonly string[]
  readonly connectTimeout: number
  readonly firstByteTimeout: number
  /** A transfer that brings fewer bytes a second for this long is given up. */
  readonly lowSpeed: { readonly bytesPerSecond: number; readonly for: number }
  /** Questions asked of it at the same time. */
  readonly concurrency: number
  /** Connections to it at the same time. */
  readonly connections: number
  /** How long a miss is remembered. */
  readonly missTtl: number
}

export interface PeerConfig {
  readonly id: string
  /** Several paths to the same peer. */
  readonly urls: readonly string[]
  readonly trust: 'ultimate' | 'transitive' | 'untrusted'
  readonly presence: Presence
}

type Presence = 'stationary' | 'roaming'

export interface LogConfig {
  readonly level: LogLevel
  readonly format: LogFormat
}

/** What flags of the command line say, checked and in Config's units. */
export interface Overrides {
  readonly listen?: readonly string[] | undefined
  readonly store?: string | undefined
  readonly upstreams?: readonly string[] | undefined
  readonly trustedKeys?: readonly string[] | undefined
  readonly maxSize?: number | undefined
  readonly logLevel?: LogLevel | undefined
}

/**
 * Reads a configuration. `file` is its path: complaints begin with it, and relative paths in it are relative to its directory.
 * Throws one ProxyError `bad-config` that names every mistake, each on a line of its own.
 */
export function parseConfig(text: string, file: string): Config {
  const result = schema.safeParse(readToml(text, file), { error: describe })
  if (!result.success) throw new ProxyError('bad-config', complaints(file, result.error.issues))
  const contradictions = [...checkTogether(result.data)]
  if (contradictions.length > 0) {
    const lines = contradictions.map(([path, message]) => complaint(file, path, message))
    throw new ProxyError('bad-config', lines.join('\n'))
  }
  return toConfig(result.data, dirname(file))
}

/** Without a file: cache.nixos.org and its key, listening on 127.0.0.1:8501. */
export function defaultConfig(): Config {
  return parseConfig('', 'built-in defaults')
}

/**
 * What flags say goes before what the file says. Upstreams replace all strata by one, which peers still join if they joined one
 * before; trusted keys are added to those there are, so that `--upstream http://another-proxy:8501` goes on trusting cache.nixos.org.
 */
export function withOverrides(config: Config, flags: Overrides): Config {
  const { listen, store, upstreams, trustedKeys = [], maxSize, logLevel } = flags
  const flat =
    upstreams && schema.parse({ strata: [{ name: 'upstreams', upstreams: upstreams.map((url) => ({ url })) }] })
  const strata =
    flat && toConfig(flat, '').strata.map((one) => ({ ...one, peers: config.strata.some(({ peers }) => peers) }))
  return deepFreeze({
    ...config,
    server: { ...config.server, listen: listen ?? config.server.listen },
    store: { ...config.store, path: store ?? config.store.path, maxSize: maxSize ?? config.store.maxSize },
    trust: { keys: [...new Set([...config.trust.keys, ...trustedKeys])] },
    strata: strata ?? config.strata,
    log: { ...config.log, level: logLevel ?? config.log.level },
  })
}

function readToml(text: string, file: string): unknown {
  try {
    return parseToml(text)
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    // The message ends in a picture of the place, which one line has no room for.
    const what = messageOf(error).split('\n', 1)[0]?.replace('Invalid TOML document: ', '') ?? ''
    throw new ProxyError('bad-config', `${file}:${error.line}:${error.column}: not TOML: ${what}`, { cause: error })
  }
}

/** What only shows when keys are seen together. */
function* checkTogether(parsed: Parsed): Generator<readonly [path: readonly PropertyKey[], message: string]> {
  const { server, trust, strata, peers } = parsed
  if (server.listen.length === 0) yield [['server', 'listen'], 'is empty: nobody could ask']
  if (server.uploads && server.uploads.credentials === undefined && server.uploads.addresses.length === 0) {
    yield [['server', 'uploads'], 'would let anybody upload; name a file of credentials, or addresses']
  }
  if (trust.keys.length === 0 && !trust.allow_unsigned) {
    yield [
      ['trust', 'keys'],
      'is empty, so nothing could be verified; name a key, or write allow_unsigned = true to pass everything through',
    ]
  }
  if (trust.keys.length > 0 && trust.allow_unsigned) {
    yield [['trust', 'allow_unsigned'], 'has no effect while there are keys; write keys = [] as well, or remove it']
  }
  yield* twice(
    ['strata'],
    'name',
    strata.map(({ name }) => name),
  )
  yield* twice(
    ['peers'],
    'id',
    peers.map(({ id }) => id),
  )
  const named = new Set<string>()
  for (const [s, stratum] of strata.entries()) {
    if (stratum.upstreams.length === 0 && !stratum.peers) {
      yield [['strata', s], `"${stratum.name}" has nobody to ask; give it upstreams, or peers = true`]
    }
    for (const [u, { name }] of stratum.upstreams.entries()) {
      if (name === undefined) continue
      if (named.has(name))
        yield [['strata', s, 'upstreams', u, 'name'], `"${name}" is the name of another upstream already`]
      named.add(name)
    }
  }
  for (const [p, { urls }] of peers.entries()) {
    if (urls.length === 0) yield [['peers', p, 'urls'], 'is empty: a peer needs an address']
  }
  if (peers.length > 0 && !strata.some((stratum) => stratum.peers)) {
    yield [['peers'], 'would never be asked: no stratum has peers = true']
  }
  const hedges = strata.slice(0, -1).reduce((sum, { hedge }) => sum + hedge, 0)
  if (hedges >= server.deadline) {
    const [sum, deadline] = [printDuration(hedges), printDuration(server.deadline)]
    yield [
      ['strata'],
      `their hedges add up to ${sum}, so the last stratum would not be asked within server.deadline (${deadline})`,
    ]
  }
}

function* twice(path: readonly PropertyKey[], key: string, values: readonly string[]) {
  for (const [i, value] of values.entries()) {
    if (values.indexOf(value) < i) yield [[...path, i, key], `"${value}" stands there twice`] as const
  }
}

function toConfig({ server, store, trust, strata, peers, log }: Parsed, directory: string): Config {
  const path = (written: string | undefined) => (written === undefined ? undefined : resolve(directory, written))
  const nameOf = uniqueNames(strata.flatMap(({ upstreams }) => upstreams.flatMap(({ name }) => name ?? [])))
  return deepFreeze({
    server: {
      listen: server.listen,
      priority: server.priority,
      storeDir: server.store_dir,
      unreachable: server.unreachable,
      deadline: server.deadline,
      shutdown: server.shutdown,
      lookAhead: server.look_ahead,
      explain: server.explain,
      uploads: server.uploads && { ...server.uploads, credentials: path(server.uploads.credentials) },
    },
    store: { path: path(store.path), maxSize: store.max_size, minFree: store.min_free, memory: store.memory },
    trust: { keys: [...new Set(trust.keys.map((key) => (isKeyPath(key) ? resolve(directory, key) : key)))] },
    strata: strata.map((stratum) => ({
      ...stratum,
      upstreams: stratum.upstreams.map((upstream) => ({
        ...splitZone(upstream.url),
        name: upstream.name ?? nameOf(upstream.url),
        presence: upstream.presence,
        headers: path(upstream.headers),
        netrc: path(upstream.netrc),
        allowedHosts: upstream.allowed_hosts,
        connectTimeout: upstream.connect_timeout ?? connectTimeouts[upstream.presence],
        firstByteTimeout: upstream.first_byte_timeout,
        lowSpeed: { bytesPerSecond: upstream.low_speed, for: upstream.low_speed_time },
        concurrency: upstream.concurrency,
        connections: upstream.connections,
        missTtl: upstream.miss_ttl,
      })),
    })),
    peers,
    log,
  })
}

/** An upstream is named after its host; the same host once more (another path, or simply twice) gets a number. */
function uniqueNames(taken: readonly string[]): (url: string) => string {
  const names = new Set(taken)
  return (url) => {
    const host = url.split('/')[2]?.replace('%25', '%') ?? url
    let name = host
    for (let count = 2; names.has(name); count++) name = `${host}#${count}`
    names.add(name)
    return name
  }
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    for (const inner of Object.values(value)) deepFreeze(inner)
    Object.freeze(value)
  }
  return value
}
