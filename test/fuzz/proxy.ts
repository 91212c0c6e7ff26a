// The whole proxy for a target, with an upstream that means well, and raw requests to it.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { compose } from '../../src/compose.ts'
import { parseConfig } from '../../src/config.ts'
import { createLog } from '../../src/log.ts'
import { publicKey } from './entries.ts'

export interface Reply {
  /** 0 when the connection ended without an answer. */
  readonly status: number
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>
  /** As it came: chunks are not put together. */
  readonly body: Buffer
}

export interface FuzzedProxy {
  /** Writes these bytes on a connection of its own, and reads until it is closed. */
  raw(bytes: Uint8Array): Promise<Reply>
  get(target: string, headers?: string): Promise<Reply>
  /** Lines that were logged as mistakes of the program. */
  readonly bugs: readonly string[]
  close(): Promise<void>
}

/** What lies beside the store, and must never be sent. */
export const secret = 'this lies beside the store'

export async function startFuzzedProxy(upstream: URL): Promise<FuzzedProxy> {
  const place = await mkdtemp(join(tmpdir(), 'substrata-fuzz-'))
  await writeFile(join(place, 'secret'), secret)
  const bugs: string[] = []
  const text = `[server]
listen = ["127.0.0.1:0"]
shutdown = "100ms"
[server.uploads]
addresses = ["127.0.0.0/8"]
evict = true
[store]
path = ${JSON.stringify(join(place, 'store'))}
min_free = "1B"
max_size = "16MiB"
[trust]
keys = ["${publicKey}"]
[[strata]]
name = "s"
[[strata.upstreams]]
url = "${upstream.href}"
miss_ttl = "1h"
`
  const write = (line: string): void => {
    if (/ error /.test(line)) bugs.push(line)
  }
  const log = createLog({ level: 'warn', format: 'text', write })
  const surroundings = { log, hostname: 'fuzz', version: '0', stateDir: place, listenFds: [] }
  const service = await compose(parseConfig(text, 'fuzz.toml'), surroundings)
  await service.start()
  const port = Number(service.addresses[0]?.split(':').at(-1))
  const raw = (bytes: Uint8Array): Promise<Reply> => exchange(port, bytes)
  return {
    raw,
    get: (target, headers = '') =>
      raw(Buffer.from(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${headers}\r\n`, 'latin1')),
    bugs,
    close: async () => {
      await service.stop()
      await rm(place, { recursive: true, force: true })
    },
  }
}

function exchange(port: number, bytes: Uint8Array): Promise<Reply> {
  return new Promise((resolve) => {
    const parts: Buffer[] = []
    const socket = connect({ port, host: '127.0.0.1' })
    socket.on('data', (part) => parts.push(part))
    // A reset after an answer that did not wait for the rest of a body is no matter.
    socket.on('error', () => {})
    socket.on('close', () => resolve(parse(Buffer.concat(parts))))
    socket.write(bytes)
  })
}

function parse(bytes: Buffer): Reply {
  const end = bytes.indexOf('\r\n\r\n')
  const [first = '', ...lines] = bytes.subarray(0, Math.max(0, end)).toString('latin1').split('\r\n')
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0)
  if (status === 100) return parse(bytes.subarray(end + 4))
  const headers = new Map(
    lines.map((line) => [line.split(':', 1)[0]?.toLowerCase() ?? '', line.replace(/^[^:]*: ?/, '')]),
  )
  return { status, headers, body: bytes.subarray(end + 4) }
}
