// Where to listen: `127.0.0.1:8501`, `[::1]:8501`, `unix:/run/substrata.sock`. Read here and printed again once it is bound.

import { lstat, unlink } from 'node:fs/promises'
import { connect, type AddressInfo, type ListenOptions } from 'node:net'

import { ProxyError } from '../errors.ts'

/** Throws `bad-config`: `listen foo: …`. Port 0 takes a free one. */
export function parseListenAddress(text: string): ListenOptions {
  if (text.startsWith('unix:/')) {
    // As open as a port on the loopback: what it gives is public, and uploads ask for credentials.
    return { path: text.slice('unix:'.length), readableAll: true, writableAll: true }
  }
  const { v6, host = v6, port } = /^(?:\[(?<v6>[^\]]+)\]|(?<host>[^:[\]]+)):(?<port>\d{1,5})$/.exec(text)?.groups ?? {}
  if (host === undefined || Number(port) > 65_535) {
    throw new ProxyError('bad-config', `listen ${text}: not an address like 127.0.0.1:8501, [::1]:8501 or unix:/path`)
  }
  return { host, port: Number(port) }
}

/** The address that was bound, with the real port, as `parseListenAddress` reads it. Undefined: a Unix socket that was passed in. */
export function printListenAddress(bound: AddressInfo | string | null): string | undefined {
  if (bound === null) return undefined
  if (typeof bound === 'string') return `unix:${bound}`
  return bound.family === 'IPv6' ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`
}

/**
 * Removes the socket file that a process has left behind which did not stop in order. Only if it is a socket, and nobody answers on
 * it: otherwise it stays, and to listen there fails.
 */
export async function removeStaleSocket(path: string): Promise<void> {
  const file = await lstat(path).catch(() => undefined)
  if (file?.isSocket() === true && !(await answers(path))) await unlink(path)
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    // Only a refusal tells that nobody is there: a full queue (EAGAIN) or a lack of permission says the contrary.
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'))
  })
}
