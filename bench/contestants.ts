// Who is measured: each starts in front of one upstream with an empty cache, and gives the URL at which a client would ask it.

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { freePort } from './free-port.ts'
import { proxyCache, startNginx } from './nginx.ts'
import { Process } from './process.ts'

export interface Place {
  readonly upstream: URL
  readonly publicKey: string
  /** Empty, and its own. */
  readonly directory: string
}

export interface Contestant {
  readonly name: string
  start(place: Place): Promise<Running>
}

export interface Running {
  readonly url: URL
  readonly process: Process
}

/** How the built program is started: `node dist/main.js serve`. */
export interface SubstrataOptions {
  readonly upstreams?: readonly URL[]
  /** Further lines of the [store] table. */
  readonly store?: string
  /** The store's directory; default: one within its own. */
  readonly root?: string
  /** Modules that node imports first. */
  readonly imports?: readonly string[]
  /** The hedge of its one stratum. */
  readonly hedge?: string
  /** Further lines of the [server] table. */
  readonly server?: string
}

/** Flags for node, handed to Substrata only: a profiler, say. */
const flags = (process.env['BENCH_NODE_FLAGS'] ?? '').split(' ').filter(Boolean)

export function substrata(options: SubstrataOptions = {}): Contestant {
  return {
    name: 'Substrata',
    start: async ({ upstream, publicKey, directory }) => {
      const port = await freePort()
      await mkdir(directory, { recursive: true })
      const config = join(directory, 'substrata.toml')
      const upstreams = (options.upstreams ?? [upstream]).map(
        (url, index) => `[[strata.upstreams]]\nurl = "${url.href}"\nname = "origin-${index}"\n`,
      )
      await writeFile(
        config,
        `[server]
listen = ["127.0.0.1:${port}"]
shutdown = "1s"
${options.server ?? ''}
[store]
path = "${options.root ?? join(directory, 'store')}"
min_free = "1MiB"
${options.store ?? ''}
[trust]
keys = ["${publicKey}"]
[[strata]]
name = "origin"
hedge = "${options.hedge ?? '400ms'}"
${upstreams.join('')}`,
      )
      const imports = (options.imports ?? []).flatMap((file) => ['--import', file])
      const running = await Process.start({
        command: [process.execPath, ...flags, ...imports, 'dist/main.js', 'serve', '--config', config],
        log: join(directory, 'log'),
        port,
      })
      return { url: new URL(`http://127.0.0.1:${port}/`), process: running }
    },
  }
}

export function nginxProxyCache(): Contestant {
  return {
    name: 'proxy_cache',
    start: async ({ upstream, directory }) => {
      const port = await freePort()
      const running = await startNginx({ directory, ports: [port], ...proxyCache(upstream, directory) })
      return { url: new URL(`http://127.0.0.1:${port}/`), process: running }
    },
  }
}

/** `NAME=COMMAND`: run by the shell, with UPSTREAM, LISTEN_PORT, CACHE_DIR and PUBKEY in its environment. Undefined: not of this form. */
export function byCommand(text: string): Contestant | undefined {
  const [, name, command] = /^([\w.-]+)=(.+)$/s.exec(text) ?? []
  if (name === undefined || command === undefined) return undefined
  return {
    name,
    start: async ({ upstream, publicKey, directory }) => {
      const port = await freePort()
      const cache = join(directory, 'cache')
      await mkdir(cache, { recursive: true })
      const running = await Process.start({
        command: ['sh', '-c', command],
        log: join(directory, 'log'),
        env: {
          ...process.env,
          UPSTREAM: upstream.href.replace(/\/$/, ''),
          LISTEN_PORT: String(port),
          CACHE_DIR: cache,
          PUBKEY: publicKey,
        },
        port,
      })
      return { url: new URL(`http://127.0.0.1:${port}/`), process: running }
    },
  }
}
