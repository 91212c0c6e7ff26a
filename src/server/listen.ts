// The sockets: binds the addresses, keeps connections within limits, and stops in a way that lets running transfers finish.

import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { Server as NetServer, type ListenOptions, type Socket } from 'node:net'

import { ProxyError } from '../errors.ts'
import { parseListenAddress, printListenAddress, removeStaleSocket } from './listen-address.ts'
import { turns } from './turns.ts'

export interface Limits {
  /** Milliseconds that an idle connection is kept. Clients keep theirs for 90 s (curl), and a connection closed first is a failure. */
  readonly keepAlive: number
  /** Milliseconds until the headers of a request must be there. */
  readonly headers: number
  /** Milliseconds without a byte in either direction, while a request is being answered. Nix itself gives up after 300 s. */
  readonly idle: number
  /** Connections at a time, per listening address. */
  readonly connections: number
  /** Connections at a time from one address that is not this machine: a Nix client opens 25, and some sit behind one NAT. */
  readonly connectionsPerAddress: number
}

const defaultLimits: Limits = {
  keepAlive: 120_000,
  headers: 20_000,
  idle: 600_000,
  connections: 16_384,
  connectionsPerAddress: 1024,
}

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the address is in use already',
  EADDRNOTAVAIL: 'this machine does not have the address',
  // For a Unix socket also in a directory that is not there (libuv).
  EACCES: 'not allowed there, or there is no such directory',
  ENOTFOUND: 'the name has no address',
}

/** Milliseconds between looks at who has become idle while we stop. */
const sweepEvery = 50
/** Bytes of a request's headers: a target of 4 kB and then some. */
const maxHeaderSize = 16 * 1024

export interface ListenerOptions {
  readonly handler: RequestListener
  /** `127.0.0.1:8501`, `[::1]:8501`, `unix:/path`; not used where there are `fds`. */
  readonly addresses: readonly string[]
  /** Sockets that are listening already, passed by systemd. */
  readonly fds?: readonly number[] | undefined
  readonly limits?: Partial<Limits>
}

export interface Listener {
  /** As they were bound, with their real ports. */
  readonly addresses: readonly string[]
  /**
   * Accepts no more connections, closes those without a request, lets requests under way finish for up to `limit` milliseconds, and
   * then cuts them. Resolves when the last connection is closed. A second call cuts after the shorter time.
   */
  stop(limit: number): Promise<void>
}

/** Binds all addresses or none. Rejects with `bad-config`: `listen 127.0.0.1:8501: the address is in use already`. */
export async function listen({ handler, addresses, fds = [], limits }: ListenerOptions): Promise<Listener> {
  const passed: readonly Place[] = fds.map((fd) => ({ name: `fd ${fd}`, where: { fd } }))
  const named: readonly Place[] = addresses.map((name) => ({ name, where: parseListenAddress(name) }))
  const binding = (passed.length > 0 ? passed : named).map(({ name, where }) =>
    BoundServer.open({ handler, name, where, limits: { ...defaultLimits, ...limits } }),
  )
  const settled = await Promise.allSettled(binding)
  const servers = settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const failed = settled.find((result) => result.status === 'rejected')
  if (failed) {
    await Promise.all(servers.map((server) => server.stop(0)))
    throw failed.reason
  }
  return {
    addresses: servers.map(({ address }) => address),
    stop: async (limit) => {
      await Promise.all(servers.map((server) => server.stop(limit)))
    },
  }
}

interface Place {
  readonly name: string
  readonly where: ListenOptions | { readonly fd: number }
}

interface BoundServerOptions extends Place {
  readonly handler: RequestListener
  readonly limits: Limits
}

/** One node server on one address, and what is going on on its connections. */
class BoundServer {
  readonly #server: Server
  /** Every connection, with the latest response on it: answers leave in order, so when that one has left, it is idle. */
  readonly #connections = new Map<Socket, ServerResponse | undefined>()
  readonly #perAddress = new Map<string, number>()
  readonly #name: string
  readonly #limits: Limits
  #stopping = false

  static async open({ handler, name, where, limits }: BoundServerOptions): Promise<BoundServer> {
    const bound = new BoundServer({ handler, name, where, limits })
    if ('path' in where && where.path !== undefined) await removeStaleSocket(where.path)
    await new Promise<void>((resolve, reject) => {
      bound.#server.once('error', (error: NodeJS.ErrnoException) => {
        reject(new ProxyError('bad-config', `listen ${name}: ${reasonOf(error)}`, { cause: error }))
      })
      bound.#server.listen(where, resolve)
    })
    return bound
  }

  private constructor({ handler, name, limits }: BoundServerOptions) {
    this.#name = name
    this.#limits = limits
    this.#server = createServer({
      keepAliveTimeout: limits.keepAlive,
      headersTimeout: limits.headers,
      // How often node looks whose headers are late.
      connectionsCheckingInterval: Math.min(5000, limits.headers),
      // A large upload takes its time; one that stalls is ended by its own route.
      requestTimeout: 0,
      maxHeaderSize,
    })
    this.#server.timeout = limits.idle
    this.#server.maxConnections = limits.connections
    const onRequest: RequestListener = (incoming, outgoing) => {
      this.#connections.set(incoming.socket, outgoing)
      if (this.#stopping) outgoing.setHeader('Connection', 'close')
      handler(incoming, outgoing)
    }
    this.#server.on('request', onRequest)
    // The handler says itself whether the client shall go on with its body.
    this.#server.on('checkContinue', onRequest)
    this.#server.on('connect', (_incoming, socket) => {
      socket.end(
        'HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nContent-Length: 0\r\nConnection: close\r\n\r\n',
      )
    })
    this.#server.on('connection', (socket) => this.#welcome(socket))
  }

  get address(): string {
    return printListenAddress(this.#server.address()) ?? this.#name
  }

  stop(limit: number): Promise<void> {
    this.#stopping = true
    return new Promise((resolve) => {
      const sweep = setInterval(() => this.#closeIdle(), sweepEvery)
      const end = setTimeout(() => this.#server.closeAllConnections(), limit)
      // Not the HTTP server's close, which takes an answer for sent whose last bytes still wait for a slow client, and cuts it.
      NetServer.prototype.close.call(this.#server, () => {
        clearInterval(sweep)
        clearTimeout(end)
        // Stops its look at late headers.
        this.#server.close()
        resolve()
      })
      this.#closeIdle()
    })
  }

  #welcome(socket: Socket): void {
    const from = socket.remoteAddress
    // A Unix socket has no address, and all clients of a reverse proxy on this machine have one.
    const counted = from !== undefined && !isOwn(from) ? from : undefined
    if (counted !== undefined) {
      const before = this.#perAddress.get(counted) ?? 0
      if (before >= this.#limits.connectionsPerAddress) {
        socket.destroy()
        return
      }
      this.#perAddress.set(counted, before + 1)
    }
    turns.newcomer()
    this.#connections.set(socket, undefined)
    socket.once('close', () => {
      this.#connections.delete(socket)
      if (counted === undefined) return
      const left = (this.#perAddress.get(counted) ?? 1) - 1
      if (left > 0) this.#perAddress.set(counted, left)
      else this.#perAddress.delete(counted)
    })
  }

  #closeIdle(): void {
    for (const [socket, latest] of this.#connections) {
      if (!latest || latest.writableFinished) socket.destroy()
    }
  }
}

function isOwn(address: string): boolean {
  return address === '::1' || /^(?:::ffff:)?127\./i.test(address)
}

function reasonOf(error: NodeJS.ErrnoException): string {
  return reasons[error.code ?? ''] ?? error.message
}
