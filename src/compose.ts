// The composition root: makes the parts of the house from a Config and joins them. The only file that knows them all.
//
//   server ─▶ ReadThrough ─▶ DiskStore
//                 └────────▶ Coalesced ─▶ Strata ─▶ Stratum ─▶ Upstream, Peers

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'

import { explainWith } from './compose-explain.ts'
import { composeStrata, type Outside } from './compose-strata.ts'
import type { Config } from './config.ts'
import { readCredentials, type Credentials } from './credentials.ts'
import { messageOf, ProxyError } from './errors.ts'
import { loadIdentity } from './identity.ts'
import type { Log } from './log.ts'
import { Metrics } from './metrics.ts'
import { encodeBase32 } from './nix/base32.ts'
import { createApp } from './server/app.ts'
import { explainAccess } from './server/explain.ts'
import { listen, type Listener } from './server/listen.ts'
import type { ServerParts } from './server/parts.ts'
import type { Status } from './server/status.ts'
import { uploadAccess } from './server/upload-access.ts'
import { DiskStore } from './store/disk-store.ts'
import { ReadThrough } from './store/read-through.ts'
import type { Repaired } from './store/repair.ts'
import type { Scrubbed, ScrubOptions } from './store/scrub.ts'
import { UploadedResources } from './store/uploaded-resources.ts'
import { UploadedNars } from './store/uploads.ts'
import { Verifier } from './store/verifier.ts'
import { Coalesced } from './upstreams/coalesced.ts'

/** Lookups in the strata at a time: some clients' worth, each of which asks 25 at once. More wait. */
const lookupsAtOnce = 256

/** What of the machine and the process the parts need to know. */
export interface Surroundings {
  readonly log: Log
  readonly hostname: string
  readonly version: string
  /** Where the store is unless the configuration says. */
  readonly stateDir: string
  /** Descriptors of sockets that systemd opened for us. */
  readonly listenFds: readonly number[]
}

export interface Service {
  /** Binds the addresses and begins to answer. Rejects with `bad-config` when an address cannot be had. */
  start(): Promise<void>
  /** Takes no more connections, lets transfers finish for `server.shutdown` at most, and closes everything. */
  stop(): Promise<void>
  /** Where it listens, once it has started. */
  readonly addresses: readonly string[]
}

/**
 * Reads the files that the configuration names, opens the store, and puts everything together; nothing listens yet. Rejects with
 * ProxyError `bad-config`, or `store-failed` when the store cannot be had.
 */
export async function compose(config: Config, surroundings: Surroundings): Promise<Service> {
  const { log, version, listenFds } = surroundings
  const credentials = await readCredentials(config)
  for (const warning of credentials.warnings) log.warn(warning)
  if (credentials.keys.length === 0)
    log.warn('trust.keys is empty: nothing is verified, whatever upstreams say is passed on')
  const allowed = uploadRules(config, credentials)
  const mayAskWhy = explainAccess(config.server.explain)
  const metrics = new Metrics()
  const store = await openDiskStore(config, surroundings, credentials, metrics)
  try {
    const instanceId = await instanceIdOf(join(rootOf(config, surroundings), 'identity'), log)
    const verifier = new Verifier()
    const far = composeStrata(config, credentials, { instanceId, version, log })
    const strata = new Coalesced({
      inner: far.strata,
      deadline: config.server.deadline,
      limit: lookupsAtOnce,
      observe: (trail) => metrics.count(trail),
    })
    const { lookAhead } = config.server
    const readThrough = new ReadThrough({ store, strata, verifier, reachable: far.reachable, lookAhead, log, metrics })
    const { storeDir } = config.server
    const uploadedNars = new UploadedNars({
      store,
      verifier,
      keys: credentials.keys,
      storeDir,
      evict: config.server.uploads?.evict ?? false,
      log,
    })
    const uploadedResources = new UploadedResources({ directory: join(rootOf(config, surroundings), 'v1', 'uploaded') })
    const startedAt = performance.now()
    let listener: Listener | undefined
    let stopping = false
    const status = (): Status => ({
      hostname: surroundings.hostname,
      version,
      instanceId,
      uptime: Math.floor((performance.now() - startedAt) / 1000),
      uplink: far.uplink(),
      strata: far.status(),
      store: store.stats(),
      fills: readThrough.fills(),
      keys: credentials.keys.map(({ name }) => name),
    })
    const parts: ServerParts = {
      substituter: readThrough,
      held: store,
      recall: (hash) => store.recall(hash),
      recite: (hashes) => store.recite(hashes),
      resource: async (path, onlyHeld, asking) => {
        const uploaded = await uploadedResources.get(path)
        if (uploaded) return { contentType: undefined, size: uploaded.length, body: once(uploaded), from: store.name }
        return onlyHeld ? undefined : far.resources.find(path, asking)
      },
      foreignNar: async (path, { range, onlyHeld }, asking) => {
        const substitute = await readThrough.findByUrl(path, onlyHeld, asking)
        if (substitute) return { substitute }
        return onlyHeld ? undefined : far.resources.find(path, asking, range)
      },
      explanations: {
        allowed: mayAskWhy,
        explain: (hash, asking) =>
          explainWith(
            {
              config,
              credentials,
              far,
              look: async () => ({ held: await store.entries(hash), remembered: readThrough.recalled(hash) }),
            },
            hash,
            asking,
          ),
      },
      uploads: allowed && {
        allowed,
        narSize: (path) => uploadedNars.narSize(path),
        putNar: (path, body, size) => uploadedNars.putNar(path, body, size),
        putNarInfo: (hash, text) => uploadedNars.putNarInfo(hash, text),
        putResource: (path, _contentType, body) => uploadedResources.put(path, body),
      },
      status,
      ready: () => listener !== undefined && !stopping,
      metrics,
      instanceId,
      storeDir,
      priority: config.server.priority,
      unreachable: config.server.unreachable,
      deadline: config.server.deadline,
      access: log,
    }
    measure(metrics, readThrough, far)
    const closeAll = async (): Promise<void> => {
      const end = performance.now() + config.server.shutdown
      // Clients first: they follow fills.
      await listener?.stop(config.server.shutdown)
      await readThrough.close(AbortSignal.timeout(Math.max(0, Math.ceil(end - performance.now()))))
      await uploadedNars.close()
      await far.stop()
      await verifier.close()
      await store.close()
    }
    return {
      get addresses() {
        return listener?.addresses ?? []
      },
      start: async () => {
        listener = await listen({ handler: createApp(parts), addresses: config.server.listen, fds: listenFds })
        far.start()
      },
      stop: () => {
        stopping = true
        return closeAll()
      },
    }
  } catch (error) {
    await store.close()
    throw error
  }
}

/** The store, for the commands that look after it. */
export type StoreToMind = Pick<DiskStore, 'pin' | 'unpin' | 'list' | 'stats' | 'settled' | 'close'> & {
  /** Proves every NAR against what was signed. Rejects with the signal's reason. */
  scrub(options: Omit<ScrubOptions, 'check'>): Promise<Scrubbed>
  /** Makes the catalogue again from the files; undefined when it was closed before the end. */
  rebuild(): Promise<Repaired | undefined>
}

/** The store alone, for commands that look after it: this process owns it until it is closed. Rejects as {@link compose} does. */
export async function openStore(config: Config, surroundings: Surroundings): Promise<StoreToMind> {
  const store = await openDiskStore(config, surroundings, await readCredentials(config))
  const verifier = new Verifier()
  return {
    pin: (hash) => store.pin(hash),
    unpin: (hash) => store.unpin(hash),
    list: () => store.list(),
    stats: () => store.stats(),
    scrub: (options) => store.scrub({ ...options, check: (path, narinfo) => verifier.prove(path, narinfo) }),
    rebuild: () => store.rebuild(),
    settled: () => store.settled(),
    close: async () => {
      await verifier.close()
      await store.close()
    },
  }
}

function rootOf(config: Config, { stateDir }: Surroundings): string {
  return config.store.path ?? stateDir
}

function openDiskStore(
  config: Config,
  surroundings: Surroundings,
  { keys }: Credentials,
  metrics?: Metrics,
): Promise<DiskStore> {
  const { maxSize, minFree, memory } = config.store
  const { storeDir } = config.server
  const root = rootOf(config, surroundings)
  return DiskStore.open({ root, storeDir, keys, maxSize, minFree, memory, log: surroundings.log, metrics })
}

/** Who may upload; undefined: nobody. Throws `bad-config`. */
function uploadRules(
  { server: { uploads } }: Config,
  { uploaders }: Credentials,
): ReturnType<typeof uploadAccess> | undefined {
  if (!uploads) return undefined
  return uploadAccess({
    credentials: Array.from(uploaders, ([login, password]) => `${login}:${password}`),
    addresses: uploads.addresses,
  })
}

/** Our name in CDN-Loop. On a disk that takes nothing a name for this run has to do: what is cached is served all the same. */
async function instanceIdOf(file: string, log: Log): Promise<string> {
  try {
    return (await loadIdentity(file)).id
  } catch (error) {
    if (!(error instanceof ProxyError) || error.code !== 'store-failed') throw error
    log.warn(`${messageOf(error)}; this run goes by another name`)
    return encodeBase32(randomBytes(32))
  }
}

/** Figures that are read when somebody asks for the metrics. */
function measure(metrics: Metrics, readThrough: ReadThrough, far: Outside): void {
  metrics.gauge('substrata_fills_running', 'NARs that are being fetched.', () => readThrough.fills().length)
  metrics.gauge('substrata_fill_readers', 'Clients that follow them.', () =>
    readThrough.fills().reduce((sum, { readers }) => sum + readers, 0),
  )
  metrics.states(
    'substrata_uplink',
    'How the link to the configured upstreams is: 1 for the state that holds.',
    ['ok', 'offline', 'portal'],
    () => far.uplink(),
  )
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
  yield bytes
}
