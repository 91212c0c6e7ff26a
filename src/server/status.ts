// How the proxy is: what its own pages show of it.

export interface Status {
  readonly hostname: string
  readonly version: string
  /** This proxy's name in CDN-Loop. */
  readonly instanceId: string
  /** Seconds since the start. */
  readonly uptime: number
  /** `offline`: no configured upstream can be reached. `portal`: something else answers in their place. */
  readonly uplink: 'ok' | 'offline' | 'portal'
  /** In the order in which they are asked. */
  readonly strata: readonly StratumStatus[]
  readonly store: StoreStatus
  readonly fills: readonly FillStatus[]
  /** Names of the trusted keys. None: nothing is verified. */
  readonly keys: readonly string[]
}

export interface StratumStatus {
  readonly name: string
  /** Milliseconds after which the next stratum is asked too. */
  readonly hedge: number
  readonly substituters: readonly SubstituterStatus[]
}

/**
 * `untried`: nobody has asked it yet. `well`: it answered last time. `failing`: it did not, and is asked again all the same.
 * `resting`: it failed so often that it is left alone for a while. `excluded`: it will not be asked until somebody sets it right
 * (credentials, another store directory).
 */
export type SubstituterState = 'untried' | 'well' | 'failing' | 'resting' | 'excluded'

export interface SubstituterStatus {
  readonly name: string
  /** Without credentials. */
  readonly url: string
  readonly peer: boolean
  readonly state: SubstituterState
  /** Milliseconds to an answer, lately. */
  readonly latencyMs: number | undefined
  /** What went wrong last, on one line. */
  readonly lastFailure: string | undefined
}

export interface StoreStatus {
  /** `full`: hits are served, nothing is kept. `failed`: somebody has to look after it. */
  readonly state: 'ok' | 'full' | 'failed'
  /** Of all NARs. */
  readonly bytes: number
  readonly nars: number
  readonly narinfos: number
  /** Bytes on the file system. */
  readonly free: number | undefined
  /** Bytes; undefined: only the free space bounds it. */
  readonly maxSize: number | undefined
}

export interface FillStatus {
  readonly name: string
  /** Bytes so far, and of the whole. */
  readonly received: number
  readonly size: number | undefined
  readonly readers: number
  readonly from: string
}

const nobody = {
  ok: 'no upstream can be asked',
  offline: 'offline: no upstream can be reached',
  portal: 'a captive portal answers instead of the upstreams',
} as const satisfies Record<Status['uplink'], string>

/** What stands in the way of serving: empty when all is well enough. */
export function troubles({ store, strata, uplink }: Status): readonly string[] {
  const substituters = strata.flatMap((stratum) => stratum.substituters)
  const usable = substituters.filter(({ state }) => state !== 'resting' && state !== 'excluded')
  const found: string[] = []
  if (store.state === 'failed') found.push('the store fails')
  if (substituters.length > 0 && usable.length === 0) found.push(nobody[uplink])
  return found
}
