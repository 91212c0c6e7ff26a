// Who is near: the one type by which mesh discovery, tunnels and the proxy know each other.

/** ultimate: its own builds are accepted; transitive: builds of those whom we trust; untrusted: only what a trusted key signed. */
export type Trust = 'ultimate' | 'transitive' | 'untrusted'

/** stationary: up most of the time; roaming: its absence is no news. */
export type Presence = 'stationary' | 'roaming'

/** A binary cache near us. Two of the same id are one peer that was found twice (on wifi and through a tunnel). */
export interface Peer {
  /** Names it in trails, metrics and logs: its instance id, or the name that the operator gave it. */
  readonly id: string
  /** Where its cache is reached, `http://10.69.1.7:8501`: several ways to the same one, the best first. */
  readonly urls: readonly string[]
  readonly via: 'static' | 'mesh' | 'tunnel'
  readonly trust: Trust
  readonly presence: Presence
}

/** Who is here now. Asked afresh for every race, so it answers at once and never throws. */
export interface PeerSource {
  peers(): readonly Peer[]
}

/** The peers of the configuration: always here. */
export function staticPeers(peers: readonly Omit<Peer, 'via'>[]): PeerSource {
  const all = peers.map((peer): Peer => ({ ...peer, via: 'static' }))
  return { peers: () => all }
}
