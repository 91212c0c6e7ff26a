// What the doctor looks at, made from a configuration: a visit to every cache, a few questions about held paths, disk and limits.

import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'

import { composeStrata } from './compose-strata.ts'
import type { Config } from './config.ts'
import { readCredentials, type Credentials } from './credentials.ts'
import { judgeAbsence, judgeVisit } from './doctor/caches.ts'
import { judgeClock } from './doctor/clock.ts'
import { judgeDescriptors } from './doctor/descriptors.ts'
import { judgeDisk } from './doctor/disk.ts'
import { examine, type Check } from './doctor/examine.ts'
import type { Finding } from './doctor/finding.ts'
import { judgeKeys, sampleFor } from './doctor/keys.ts'
import { judgePermissions, nearestDirectory } from './doctor/permissions.ts'
import type { Log } from './log.ts'
import { encodeBase32 } from './nix/base32.ts'
import type { StoreHash } from './nix/store-path.ts'
import { ownerOf } from './store/dossier.ts'
import { sampleNarInfos } from './store/sample.ts'
import { limitsFor } from './upstreams/limits.ts'
import { visit, type Visit } from './upstreams/visit.ts'

/** For each check as a whole, in ms: a visit to a cache that does not answer takes 13 seconds at most, by its own limits. */
const timeout = 20_000
/** Held narinfos that are read for a sample. */
const readForSample = 500

/** Everything that was found, the worst first. Rejects with ProxyError `bad-config`, or with the signal's reason. */
export async function examineAll(
  config: Config,
  { stateDir, version, log }: { readonly stateDir: string; readonly version: string; readonly log: Log },
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  const credentials = await readCredentials(config)
  const root = config.store.path ?? stateDir
  const caches = cachesOf(config, credentials, version)
  const visits = new Map(
    caches.map((cache) => [cache, visit(cache, AbortSignal.any([signal, AbortSignal.timeout(timeout)]))]),
  )
  for (const made of visits.values()) made.catch(() => {})
  const connections = config.strata.flatMap(({ upstreams }) => upstreams).reduce((sum, one) => sum + one.connections, 0)
  const checks: Check[] = [
    ...caches.map((cache): Check => ({
      about: cache.who,
      run: async () => [await judgeCache(cache, visits.get(cache), config.server.storeDir)],
    })),
    { about: 'clock', run: async () => [judgeClock(await answered(visits.values()))] },
    { about: 'keys', run: (signal) => checkKeys(config, credentials, { root, version, log }, signal) },
    {
      about: 'secrets',
      run: async () => credentials.warnings.map((says) => ({ level: 'warning', about: 'secrets', says })),
    },
    { about: 'disk', run: async () => judgeDisk({ directory: await nearestDirectory(root), ...config.store }) },
    { about: 'store', run: () => judgePermissions(root) },
    { about: 'store', run: () => judgeOwner(root) },
    {
      about: 'file descriptors',
      run: async () => [
        judgeDescriptors(await readFile('/proc/self/limits', 'utf8').catch(() => undefined), connections),
      ],
    },
  ]
  return examine(checks, timeout, signal)
}

interface Cache {
  readonly who: string
  readonly url: URL
  readonly zone: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly connect: number
  readonly firstByte: number
  /** It may come and go: its absence is no problem. */
  readonly roaming: boolean
}

function cachesOf({ strata, peers }: Config, { headers }: Credentials, version: string): readonly Cache[] {
  const usual = { 'user-agent': `substrata/${version}` }
  const upstreams = strata.flatMap((stratum) =>
    stratum.upstreams.map((upstream): Cache => ({
      who: `upstream ${upstream.name}`,
      url: new URL(upstream.url),
      zone: upstream.zone,
      headers: { ...usual, ...headers.get(upstream.name) },
      connect: upstream.connectTimeout,
      firstByte: upstream.firstByteTimeout,
      roaming: upstream.presence === 'roaming',
    })),
  )
  const near = peers.flatMap(({ id, urls, presence }) =>
    urls.map((url): Cache => {
      const { connect, firstByte } = limitsFor(`${presence} peer`)
      const who = urls.length === 1 ? `peer ${id}` : `peer ${id} at ${url}`
      return {
        who,
        url: new URL(url),
        zone: undefined,
        headers: usual,
        connect,
        firstByte,
        roaming: presence === 'roaming',
      }
    }),
  )
  return [...upstreams, ...near]
}

async function judgeCache(
  { who, url, roaming }: Cache,
  visited: Promise<Visit> | undefined,
  storeDir: string,
): Promise<Finding> {
  try {
    if (visited) return judgeVisit(who, await visited, storeDir)
  } catch (error) {
    return judgeAbsence(who, error, { url, roaming })
  }
  return { level: 'note', about: who, says: 'was not asked' }
}

async function answered(visits: Iterable<Promise<Visit>>): Promise<readonly Visit[]> {
  const settled = await Promise.allSettled(visits)
  return settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
}

/** Asks everybody about a few held paths, believing whatever they say: the question is whose signatures there are. */
async function checkKeys(
  config: Config,
  credentials: Credentials,
  { root, version, log }: { readonly root: string; readonly version: string; readonly log: Log },
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  const held = await sampleNarInfos(root, config.server.storeDir, readForSample)
  const hashes: readonly StoreHash[] = sampleFor(credentials.keys, held)
  const instanceId = encodeBase32(randomBytes(32))
  const far = composeStrata(config, { ...credentials, keys: [] }, { instanceId, version, log })
  try {
    const inTime = AbortSignal.any([signal, AbortSignal.timeout(config.server.deadline)])
    const surveys = await Promise.all(hashes.map((hash) => far.survey(hash, { signal: inTime, loop: [] })))
    const narinfos = surveys
      .flat()
      .flatMap(({ members }) => members.flatMap(({ substitute }) => (substitute ? [substitute.narinfo] : [])))
    return await judgeKeys(credentials.keys, { asked: hashes.length, narinfos })
  } finally {
    await far.stop()
  }
}

async function judgeOwner(root: string): Promise<readonly Finding[]> {
  const owner = await ownerOf(root)
  return owner === undefined ? [] : [{ level: 'ok', about: 'store', says: `in use by ${owner}` }]
}
