// Which addresses may be connected to: the upstream itself, wherever it is, and other hosts only as the operator listed them.

import { BlockList, isIP } from 'node:net'

/** Where an upstream may lead us by its own words: absolute URLs in narinfos, redirects. */
export interface Bounds {
  /** The URL that the operator wrote: its scheme, host and port are always allowed, whatever address they mean (a LAN cache). */
  readonly own: URL
  /**
   * Other hosts: `cdn.example.org`, `*.example.org` (any name below it, not itself), each with `:port` unless it is the scheme's
   * usual one. Only public addresses are reached under these names; to allow another address, list it: `10.0.0.7:8080`.
   */
  readonly allowedHosts: readonly string[]
}

/** `any`: connect to whatever address the name has; `public`: only to addresses that are public after DNS. */
export type Reach = 'any' | 'public'

/**
 * Whether a URL may be fetched, and which addresses its host may turn out to have; undefined: not at all. Never anything but
 * http and https, and never http for an upstream that is configured with https.
 */
export function reachOf(url: URL, { own, allowedHosts }: Bounds): Reach | undefined {
  if (sameOrigin(url, own)) return 'any'
  if (url.protocol !== 'https:' && (url.protocol !== 'http:' || own.protocol === 'https:')) return undefined
  if (!allowedHosts.some((pattern) => matches(pattern, url))) return undefined
  return isIP(bareHost(url)) === 0 ? 'public' : 'any'
}

/** Same scheme, host and port: who may see our credentials and extra headers. */
export function sameOrigin(a: URL, b: URL): boolean {
  return a.protocol === b.protocol && a.host === b.host
}

/**
 * Whether an IP address (with or without zone) is one of the public internet: not loopback, private, link-local, shared, multicast,
 * reserved or unspecified, also where IPv6 wraps an IPv4 address. By the IANA special-purpose address registries.
 */
export function isPublicAddress(address: string): boolean {
  const bare = address.split('%', 1)[0] ?? ''
  const family = isIP(bare)
  return family !== 0 && !special.check(bare, family === 4 ? 'ipv4' : 'ipv6')
}

/** `[::1]` without its brackets. */
export function bareHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '')
}

/** The operator's pattern is read as the host of a URL, so that letters, numbers and ports are spelt as in the other one. */
function matches(pattern: string, url: URL): boolean {
  const wild = pattern.startsWith('*.')
  const text = `${url.protocol}//${wild ? pattern.slice(2) : pattern}`
  if (!URL.canParse(text)) return false
  const { hostname, port } = new URL(text)
  if (port !== url.port) return false
  return wild ? url.hostname.endsWith(`.${hostname}`) : url.hostname === hostname
}

const specialV4 = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const

const specialV6 = [
  ['::', 96],
  ['64:ff9b:1::', 48],
  ['100::', 64],
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
  ['5f00::', 16],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
] as const

const special = specialAddresses()

function specialAddresses(): BlockList {
  const list = new BlockList()
  for (const [net, prefix] of specialV6) list.addSubnet(net, prefix, 'ipv6')
  for (const [net, prefix] of specialV4) {
    list.addSubnet(net, prefix, 'ipv4')
    // The same behind IPv4-mapped and NAT64 addresses: ::ffff:10.0.0.1, 64:ff9b::10.0.0.1.
    list.addSubnet(`::ffff:${net}`, 96 + prefix, 'ipv6')
    list.addSubnet(`64:ff9b::${net}`, 96 + prefix, 'ipv6')
  }
  return list
}
