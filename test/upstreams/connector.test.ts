import { createServer, type AddressInfo, type LookupFunction } from 'node:net'
import { networkInterfaces } from 'node:os'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { Client, type ClientOptions } from '../../src/upstreams/client.ts'
import { publicOnly } from '../../src/upstreams/connector.ts'
import { startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { bytesOf } from '../support/substituter-conformance.ts'

let server: ScriptedUpstream
const clients: Client[] = []

beforeEach(async () => {
  server = await startScriptedUpstream()
  server.script('/a', { body: 'here' })
})
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()))
  await server.close()
})

/** A DNS that knows these names. */
function dns(names: Readonly<Record<string, readonly string[]>>): LookupFunction {
  return (hostname, options, callback) => {
    const all = (names[hostname] ?? []).map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
    const unknown = Object.assign(new Error('unknown name'), { code: 'ENOTFOUND' })
    const [first] = all
    if (first === undefined) callback(unknown, [])
    else if (options.all === true) callback(null, all)
    else callback(null, first.address, first.family)
  }
}

function linkLocal(): { readonly address: string; readonly zone: string } | undefined {
  for (const [zone, addresses = []] of Object.entries(networkInterfaces())) {
    const found = addresses.find(({ address }) => address.startsWith('fe80::'))
    if (found !== undefined) return { address: found.address, zone }
  }
  return undefined
}

function get(url: string, options: Partial<ClientOptions> & { readonly connect?: number } = {}): Promise<string> {
  const client = new Client({
    who: 'upstream u',
    own: new URL(url),
    allowedHosts: [],
    headers: {},
    secretHeaders: {},
    limits: { connect: options.connect ?? 5000, firstByte: 5000, connections: 2 },
    ...options,
  })
  clients.push(client)
  return client
    .get(new URL(url), {}, new AbortController().signal)
    .then(async (response) => String(await bytesOf(response)))
}

describe('the name that the operator wrote', () => {
  test('case 56: may have any address', async () => {
    const lookup = dns({ 'cache.lan': ['127.0.0.1'] })
    expect(await get(`http://cache.lan:${server.port}/a`, { lookup })).toBe('here')
    expect(server.requests[0]?.headers.host).toBe(`cache.lan:${server.port}`)
  })

  test('case 101: may have dead addresses beside good ones', async () => {
    const lookup = dns({ 'cache.lan': ['::1', '127.0.0.7', '127.0.0.1'] })
    expect(await get(`http://cache.lan:${server.port}/a`, { lookup })).toBe('here')
  })

  test('is looked up by the system', async () => {
    expect(await get(`http://localhost:${server.port}/a`)).toBe('here')
  })

  const zoned = linkLocal()

  // Machines without IPv6 have no such address.
  test.skipIf(zoned === undefined)('case 101: may be a link-local address behind one of our interfaces', async () => {
    const { address, zone } = zoned!
    const near = await startScriptedUpstream({ host: `${address}%${zone}` })
    near.script('/a', { body: 'here' })
    try {
      expect(await get(`http://[${address}]:${near.port}/a`, { zone })).toBe('here')
    } finally {
      await near.close()
    }
  })

  test('case 100: may be unknown', async () => {
    await expect(get('http://cache.lan/a', { lookup: dns({}) })).rejects.toMatchObject({
      code: 'unreachable',
      message: 'upstream u: its name is not known',
    })
  })
})

describe('a name that the upstream wrote', () => {
  const own = new URL('http://10.99.99.99/')

  test('case 56: is refused when DNS gives it an address of our own network', async () => {
    const lookup = dns({ 'cdn.example.org': ['127.0.0.1', '::1', '169.254.169.254'] })
    const allowedHosts = [`cdn.example.org:${server.port}`]
    await expect(get(`http://cdn.example.org:${server.port}/a`, { own, allowedHosts, lookup })).rejects.toMatchObject({
      code: 'bad-address',
      message: expect.stringContaining('127.0.0.1, ::1, 169.254.169.254'),
    })
    expect(server.connectionsEver).toBe(0)
  })

  test('case 56: is refused with the address of our own network also by the real DNS', async () => {
    const allowedHosts = [`localhost:${server.port}`]
    await expect(get(`http://localhost:${server.port}/a`, { own, allowedHosts })).rejects.toMatchObject({
      code: 'bad-address',
    })
    expect(server.connectionsEver).toBe(0)
  })

  test.each([true, false])(
    'case 56: of its addresses only the public ones are left to connect to (all: %s)',
    async (all) => {
      const lookup = publicOnly(dns({ 'cdn.example.org': ['127.0.0.1', '151.101.1.91', 'fe80::1', '2a04:4e42::347'] }))
      const found = await new Promise((resolve, reject) => {
        lookup('cdn.example.org', { all }, (error, ...result) => (error === null ? resolve(result) : reject(error)))
      })
      const both = [
        { address: '151.101.1.91', family: 4 },
        { address: '2a04:4e42::347', family: 6 },
      ]
      expect(found).toEqual(all ? [both] : ['151.101.1.91', 4])
    },
  )

  test('case 56: is never one that was not listed, also below the check of URLs', async () => {
    const lookup = dns({ 'evil.example.org': ['127.0.0.1'] })
    await expect(get(`http://evil.example.org:${server.port}/a`, { own, lookup })).rejects.toMatchObject({
      code: 'bad-address',
      message: `upstream u: evil.example.org:${server.port} is not allowed`,
    })
    expect(server.connectionsEver).toBe(0)
  })

  test('case 56: may be an address of our own network when the operator listed that very address', async () => {
    expect(await get(`http://127.0.0.1:${server.port}/a`, { own, allowedHosts: [`127.0.0.1:${server.port}`] })).toBe(
      'here',
    )
  })
})

test('case 85: who does not finish the handshake is given up', async () => {
  const silent = createServer(() => {})
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  const { port } = silent.address() as AddressInfo
  const connections: Promise<unknown>[] = []
  silent.on('connection', (socket) =>
    connections.push(new Promise((resolve) => socket.resume().once('close', resolve))),
  )
  // TLS that is never answered.
  await expect(get(`https://127.0.0.1:${port}/a`, { connect: 50 })).rejects.toMatchObject({
    code: 'timeout',
    message: 'upstream u: no connection within 50 ms',
  })
  await Promise.all(connections)
  await new Promise((resolve) => silent.close(resolve))
})

test('a lookup that never ends is given up', async () => {
  await expect(get('http://cache.lan/a', { connect: 50, lookup: () => {} })).rejects.toMatchObject({ code: 'timeout' })
})
