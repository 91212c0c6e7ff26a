import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { Client, type ClientOptions } from '../../src/upstreams/client.ts'
import { startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { selfSigned } from '../support/self-signed.ts'
import { bytesOf } from '../support/substituter-conformance.ts'

let server: ScriptedUpstream
let other: ScriptedUpstream
const clients: Client[] = []

beforeEach(async () => {
  server = await startScriptedUpstream()
  other = await startScriptedUpstream()
})
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()))
  await Promise.all([server.close(), other.close()])
})

/** One connection: whatever is not over it is over another. */
const single = { connect: 5000, firstByte: 5000, connections: 1 }

function clientTo(own: URL, options: Partial<ClientOptions> = {}): Client {
  const limits = { connect: 5000, firstByte: 5000, connections: 4 }
  const client = new Client({
    who: 'upstream u',
    own,
    allowedHosts: [],
    headers: { 'user-agent': 'test' },
    secretHeaders: { authorization: 'Basic c2VjcmV0' },
    limits,
    ...options,
  })
  clients.push(client)
  return client
}

async function textAt(client: Client, url: URL, fresh = false): Promise<string> {
  return String(await bytesOf(await client.get(url, {}, new AbortController().signal, fresh)))
}

const at = (upstream: ScriptedUpstream, path: string) => new URL(path, upstream.url)

describe('redirects', () => {
  test('case 98: on the same host they are followed, with credentials', async () => {
    server.script('/a', { redirect: '/b?sig=1' })
    server.script('/b', { status: 307, redirect: at(server, '/c').href })
    server.script('/c', { body: 'here' })
    expect(await textAt(clientTo(server.url), at(server, '/a'))).toBe('here')
    expect(server.requests.map(({ url }) => url)).toEqual(['/a', '/b?sig=1', '/c'])
    expect(server.requests.every(({ headers }) => headers.authorization === 'Basic c2VjcmV0')).toBe(true)
  })

  test.each([301, 302, 303, 307, 308])('case 98: %i is followed', async (status) => {
    server.script('/a', { status, redirect: '/b' })
    server.script('/b', { body: 'here' })
    expect(await textAt(clientTo(server.url), at(server, '/a'))).toBe('here')
  })

  test.each(['/a', 'chain'])('case 98: after five hops it is enough: %s', async (kind) => {
    if (kind === '/a') server.script('/a', { redirect: '/a' })
    const chain = ['/a', '/b', '/c', '/d', '/e', '/f', '/g', '/h']
    for (const [index, from] of chain.entries()) {
      if (kind === 'chain') server.script(from, { redirect: chain[index + 1] ?? '/a' })
    }
    await expect(textAt(clientTo(server.url), at(server, '/a'))).rejects.toMatchObject({
      code: 'bad-status',
      message: 'upstream u: more than 5 redirects',
    })
    expect(server.count()).toBe(6)
  })

  test('case 17: to another host they are not followed', async () => {
    server.script('/a', { redirect: at(other, '/b').href })
    await expect(textAt(clientTo(server.url), at(server, '/a'))).rejects.toMatchObject({ code: 'bad-address' })
    expect(other.connectionsEver).toBe(0)
  })

  test('case 98: to an allowed host they are followed, without credentials and headers that are meant for the upstream', async () => {
    server.script('/a', { redirect: at(other, '/b').href })
    other.script('/b', { redirect: at(server, '/c').href })
    server.script('/c', { body: 'here' })
    const client = clientTo(server.url, {
      allowedHosts: [other.url.host],
      secretHeaders: { authorization: 'Basic c2VjcmV0', 'x-token': 'secret' },
    })
    expect(await textAt(client, at(server, '/a'))).toBe('here')
    const [seen] = other.requests
    expect(seen?.headers).toMatchObject({ 'user-agent': 'test' })
    expect(seen?.headers).not.toHaveProperty('authorization')
    expect(seen?.headers).not.toHaveProperty('x-token')
    expect(server.requests[1]?.headers).toMatchObject({ authorization: 'Basic c2VjcmV0', 'x-token': 'secret' })
  })
})

describe('connections', () => {
  test('case 102: when a kept-alive connection is closed as we use it, the question is asked once more over a new one', async () => {
    server.script('/a', { body: 'here' })
    const client = clientTo(server.url, { limits: single })
    await textAt(client, at(server, '/a'))
    server.script('/a', { hangUp: 'close', when: ({ connection }) => connection === 0 })
    expect(await textAt(client, at(server, '/a'))).toBe('here')
    expect(server.requests.map(({ connection }) => connection)).toEqual([0, 0, 1])
  })

  test.each(['close', 'reset'] as const)(
    'who hangs up on new connections, too, is asked twice and no more (%s)',
    async (hangUp) => {
      server.script('/a', { hangUp })
      await expect(textAt(clientTo(server.url), at(server, '/a'))).rejects.toMatchObject({ code: 'unreachable' })
      expect(server.count()).toBe(2)
      await server.disconnected()
    },
  )

  test('a fresh one is asked for over a connection of its own, which is closed after it', async () => {
    server.script('/a', { body: 'here' })
    const client = clientTo(server.url, { limits: single })
    await textAt(client, at(server, '/a'))
    expect(await textAt(client, at(server, '/a'), true)).toBe('here')
    expect(server.requests.map(({ connection }) => connection)).toEqual([0, 1])
    await client.close()
    await server.disconnected()
  })

  test('after renewal the old connections are not used, and what runs on them goes on', async () => {
    let go: (value: unknown) => void = () => {}
    server.script('/a', { until: new Promise((resolve) => (go = resolve)), body: 'here', times: 1 })
    server.script('/b', { body: 'there' })
    const client = clientTo(server.url, { limits: single })
    const running = textAt(client, at(server, '/a'))
    await server.seen('/a')
    client.renew()
    expect(await textAt(client, at(server, '/b'))).toBe('there')
    go(undefined)
    expect(await running).toBe('here')
    expect(server.requests.map(({ connection }) => connection)).toEqual([0, 1])
  })

  test('at most so many are open', async () => {
    server.script('/a', { delay: 5, body: 'here' })
    const client = clientTo(server.url)
    await Promise.all(Array.from({ length: 30 }, () => textAt(client, at(server, '/a'))))
    expect(server.connectionsEver).toBe(4)
  })

  test('closing ends everything, and whatever comes later is refused', async () => {
    server.script('/a', { never: true })
    const client = clientTo(server.url)
    const running = expect(textAt(client, at(server, '/a'))).rejects.toMatchObject({ code: 'aborted' })
    const fresh = expect(textAt(client, at(server, '/a'), true)).rejects.toMatchObject({ code: 'aborted' })
    await server.seen('/a', 2)
    await client.close()
    await running
    await fresh
    await server.disconnected()
    await expect(textAt(client, at(server, '/a'))).rejects.toMatchObject({ code: 'aborted' })
  })
})

describe('failures say who and what', () => {
  test('case 100: connection refused', async () => {
    const url = at(server, '/a')
    await server.down()
    await expect(textAt(clientTo(url), url)).rejects.toMatchObject({
      code: 'unreachable',
      message: 'upstream u: connection refused',
    })
  })

  test('case 104: no HTTP', async () => {
    server.script('/a', { raw: 'SSH-2.0-OpenSSH_9.2p1\r\n' })
    await expect(textAt(clientTo(server.url), at(server, '/a'))).rejects.toMatchObject({ code: 'damaged' })
  })

  test('case 100: a certificate that nobody vouches for is refused, and nothing is asked without', async () => {
    let asked = 0
    const secure = createServer(selfSigned, (_, response) => {
      asked += 1
      response.end('here')
    })
    secure.listen(0, '127.0.0.1')
    await once(secure, 'listening')
    const url = new URL(`https://127.0.0.1:${(secure.address() as AddressInfo).port}/`)
    await expect(textAt(clientTo(url), url)).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringContaining('its certificate'),
    })
    expect(asked).toBe(0)
    await new Promise((resolve) => secure.close(resolve))
  })

  test('case 100: a server without TLS at an https address', async () => {
    const url = new URL(`https://127.0.0.1:${server.port}/`)
    await expect(textAt(clientTo(url), url)).rejects.toMatchObject({ code: 'unreachable' })
    expect(server.count()).toBe(0)
  })
})
