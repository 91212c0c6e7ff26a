// The shape of the TOML file: every key, what it may hold, and its default. substrata.example.toml shows the same to people.

import { z } from 'zod'

import { unknownKeys, type Tables } from './config-complaints.ts'
import {
  parseAddressBlock,
  parseCacheUrl,
  parseHost,
  parseKeyOrPath,
  parseListen,
  parseName,
  parsePath,
  parsePeerUrl,
  parseStoreDir,
} from './config-values.ts'
import { messageOf } from './errors.ts'
import { logLevels } from './log.ts'
import { parseDuration, parseSize } from './units.ts'

export const nixosCache = 'https://cache.nixos.org'
export const nixosKey = 'cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY='

/** How long connecting may take, in ms: who comes and goes must not hold up the others. */
export const connectTimeouts = { stationary: 3000, roaming: 800 } as const

/** A value with a syntax of its own: what the parser throws becomes the complaint. */
function value<T>(parse: (value: unknown) => T) {
  return z.unknown().transform((input, context): T => {
    try {
      return parse(input)
    } catch (error) {
      context.issues.push({ code: 'custom', message: messageOf(error), input })
      return z.NEVER
    }
  })
}

/** A value that must not be 0: a limit of nothing would stop everything. */
function positive(parse: (value: unknown) => number) {
  return value((input) => {
    const amount = parse(input)
    if (amount > 0) return amount
    throw new Error(`${JSON.stringify(input)} must be more than nothing`)
  })
}

/** A table of the file under the header it is written with; unknown keys are refused with the one that was meant. */
function table<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys' ? unknownKeys(issue.keys, Object.keys(shape), tables) : undefined,
  })
}

const duration = value(parseDuration)
const patience = positive(parseDuration)
const amount = positive(parseSize)
const path = value(parsePath)
const name = value(parseName)
const presence = z.enum(['stationary', 'roaming'])

const uploads = table({
  credentials: path.optional(),
  addresses: z.array(value(parseAddressBlock)).default([]),
  evict: z.boolean().default(false),
})

const server = table({
  listen: z.array(value(parseListen)).prefault(['127.0.0.1:8501']),
  // Clients read it with std::stoi: 31 bits.
  priority: z.int().min(0).max(2_147_483_647).default(30),
  store_dir: value(parseStoreDir).prefault('/nix/store'),
  unreachable: z.enum(['miss', 'error']).default('miss'),
  deadline: patience.prefault('8s'),
  shutdown: duration.prefault('30s'),
  look_ahead: z.boolean().default(false),
  explain: z.array(value(parseAddressBlock)).default([]),
  uploads: z
    .preprocess((written) => {
      if (typeof written === 'string') return { credentials: written }
      return Array.isArray(written) ? { addresses: written } : written
    }, uploads)
    .optional(),
})

const store = table({
  path: path.optional(),
  max_size: amount.optional(),
  min_free: value(parseSize).prefault('1GiB'),
  memory: value(parseSize).prefault('64MiB'),
})

const trust = table({
  keys: z.array(value(parseKeyOrPath)).prefault([nixosKey]),
  allow_unsigned: z.boolean().default(false),
})

const upstream = table({
  url: value(parseCacheUrl),
  name: name.optional(),
  presence: presence.default('stationary'),
  headers: path.optional(),
  netrc: path.optional(),
  allowed_hosts: z.array(value(parseHost)).default([]),
  connect_timeout: patience.optional(),
  first_byte_timeout: patience.prefault('5s'),
  low_speed: value(parseSize).prefault('1KiB'),
  low_speed_time: patience.prefault('20s'),
  concurrency: z.int().min(1).max(10_000).default(64),
  connections: z.int().min(1).max(1000).default(40),
  miss_ttl: duration.prefault('10s'),
})

const stratum = table({
  name,
  peers: z.boolean().default(false),
  hedge: duration.prefault('400ms'),
  upstreams: z.array(upstream).default([]),
})

const peer = table({
  id: name,
  urls: z.array(value(parsePeerUrl)),
  trust: z.enum(['ultimate', 'transitive', 'untrusted']).default('transitive'),
  presence: presence.default('roaming'),
})

const log = table({
  level: z.enum(logLevels).default('info'),
  format: z.enum(['text', 'json']).default('text'),
})

/** The whole file. Durations come out in milliseconds, sizes in bytes; paths as they were written. */
export const schema = table({
  server: server.prefault({}),
  store: store.prefault({}),
  trust: trust.prefault({}),
  strata: z.array(stratum).prefault([{ name: 'internet', upstreams: [{ url: nixosCache }] }]),
  peers: z.array(peer).default([]),
  log: log.prefault({}),
})

/** What the schema makes of a file without mistakes. */
export type Parsed = z.output<typeof schema>

/** The keys of every table under its header, so that a key in the wrong table is sent home. */
export const tables: Tables = {
  '[server]': Object.keys(server.shape),
  '[store]': Object.keys(store.shape),
  '[trust]': Object.keys(trust.shape),
  '[[strata]]': Object.keys(stratum.shape),
  '[[strata.upstreams]]': Object.keys(upstream.shape),
  '[[peers]]': Object.keys(peer.shape),
  '[log]': Object.keys(log.shape),
}
