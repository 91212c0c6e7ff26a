// How long and how much we let one upstream, with what is usual for caches, for peers, and for peers that move about.

/** Times in ms, sizes in bytes. */
export interface Limits {
  /** DNS, TCP and TLS together. */
  readonly connect: number
  /** From the request being sent to the status line and headers. */
  readonly firstByte: number
  /** A whole narinfo: waiting for a turn is not counted, everything else is. */
  readonly narinfo: number
  /** Of a narinfo, after decoding. */
  readonly narinfoBytes: number
  /** A body slower than this, averaged over so many ms of waiting for it, is given up. */
  readonly lowSpeed: { readonly bytesPerSecond: number; readonly window: number }
  /** Narinfo lookups at once; more wait their turn. */
  readonly lookups: number
  /** NARs and other bodies at once; more wait their turn. */
  readonly transfers: number
  /** Sockets to one host. */
  readonly connections: number
  /** How long "not here" is believed. 0: not remembered. */
  readonly missTtl: number
}

const usual: Limits = {
  connect: 3000,
  firstByte: 5000,
  narinfo: 5000,
  narinfoBytes: 1024 * 1024,
  lowSpeed: { bytesPerSecond: 1024, window: 20_000 },
  lookups: 64,
  transfers: 32,
  connections: 40,
  missTtl: 10_000,
}

/** What holds where the operator says nothing else. A peer's misses are never remembered: what it lacks it may have in a second. */
export function limitsFor(kind: 'cache' | 'stationary peer' | 'roaming peer', set: Partial<Limits> = {}): Limits {
  const peer = { ...usual, lookups: 8, missTtl: 0 }
  const limits = kind === 'cache' ? usual : kind === 'stationary peer' ? peer : { ...peer, connect: 800, lookups: 4 }
  return { ...limits, ...set }
}
