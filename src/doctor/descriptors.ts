// Whether enough files and sockets may be open at once.

import type { Finding } from './finding.ts'

const about = 'file descriptors'
/** Sockets of clients and files they read: forty Nix clients at once, of 25 connections each. */
const forClients = 1000

/**
 * @param limits the text of /proc/self/limits; undefined where there is none. Node has raised the soft limit to the hard one by then.
 * @param connections that upstreams may have at once, all together
 */
export function judgeDescriptors(limits: string | undefined, connections: number): Finding {
  const [, soft] = /^Max open files\s+(\d+|unlimited)/m.exec(limits ?? '') ?? []
  if (soft === undefined) return { level: 'note', about, says: 'this system does not say how many may be open' }
  const most = soft === 'unlimited' ? Infinity : Number(soft)
  const needed = connections + forClients
  if (most >= needed) return { level: 'ok', about, says: `${soft} may be open` }
  return {
    level: most < connections ? 'problem' : 'warning',
    about,
    says: `${soft} may be open, and with many clients about ${needed} are needed (${connections} for upstreams)`,
    do: 'Raise the limit: LimitNOFILE=65536 in the service, ulimit -n in a shell; or lower connections of the upstreams',
  }
}
