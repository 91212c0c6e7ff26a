// Whether a client connects from certain blocks of addresses: who may upload, and who may ask why.

import { BlockList, isIP } from 'node:net'

import { ProxyError } from '../errors.ts'

/**
 * Reads blocks like `192.0.2.0/24` and `2001:db8::/32`, each with its prefix length; what it returns says whether a `remoteAddress` of
 * Node lies in one of them. Throws `bad-config`, beginning with `key`, for what is no block.
 */
export function addressBlocks(key: string, blocks: readonly string[]): (remoteAddress: string) => boolean {
  const list = new BlockList()
  for (const text of blocks) {
    const [address = '', bits = ''] = text.split('/')
    const family = isIP(address)
    if (family === 0 || !/^\d{1,3}$/.test(bits) || Number(bits) > (family === 4 ? 32 : 128)) {
      throw new ProxyError('bad-config', `${key}: ${text} is not an address with a prefix length, like 192.0.2.0/24`)
    }
    list.addSubnet(address, Number(bits), family === 4 ? 'ipv4' : 'ipv6')
  }
  return (remoteAddress) => {
    // Also ::ffff:192.0.2.7, as an IPv6 socket has its IPv4 clients, and fe80::1%eth0.
    const family = isIP(remoteAddress)
    return family !== 0 && list.check(remoteAddress, family === 4 ? 'ipv4' : 'ipv6')
  }
}
