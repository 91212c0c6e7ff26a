// Which HTTP is spoken to upstreams: 1.1 and nothing else.

import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:tls'

import { expect, onTestFinished, test } from 'vitest'

import { Client } from '../../src/upstreams/client.ts'
import { selfSigned } from '../support/self-signed.ts'

test('an upstream that would speak HTTP/2 is not offered it, so that no stream of it can be reset or sent away (case 103)', async () => {
  const offered: (readonly string[])[] = []
  const server = createServer({
    ...selfSigned,
    ALPNCallback: ({ protocols }) => {
      offered.push(protocols)
      return protocols.includes('h2') ? 'h2' : 'http/1.1'
    },
  })
  // The handshake breaks off: nobody vouches for the certificate.
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    const closed = once(server, 'close')
    server.close()
    await closed
  })
  const url = new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  const client = new Client({
    who: 'upstream u',
    own: url,
    allowedHosts: [],
    headers: {},
    secretHeaders: {},
    limits: { connect: 5000, firstByte: 5000, connections: 1 },
  })
  onTestFinished(() => client.close())

  await expect(client.get(url, {}, new AbortController().signal)).rejects.toMatchObject({ code: 'unreachable' })

  expect(offered.length).toBeGreaterThan(0)
  for (const protocols of offered) expect(protocols).toEqual(['http/1.1'])
})
