// Asks the proxy that runs at an address of the configuration, if there is one.

import { request, type IncomingHttpHeaders, type IncomingMessage, type RequestOptions } from 'node:http'

/** A small answer, whole. */
export interface Told {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  /** Where it was asked: `127.0.0.1:8501`. */
  readonly address: string
}

/** More than any explanation has. */
const mostBytes = 4 * 1024 * 1024

/**
 * GETs a path as text from the first of these listen addresses at which anybody answers in HTTP. Undefined: nobody does, within `timeout`
 * ms each.
 */
export async function askRunning(
  addresses: readonly string[],
  path: string,
  timeout: number,
  signal: AbortSignal,
): Promise<Told | undefined> {
  for (const address of addresses) {
    try {
      const told = await ask(address, path, AbortSignal.any([signal, AbortSignal.timeout(timeout)]))
      return { ...told, address }
    } catch {
      signal.throwIfAborted()
    }
  }
  return undefined
}

function ask(address: string, path: string, signal: AbortSignal): Promise<Omit<Told, 'address'>> {
  return new Promise((resolve, reject) => {
    const asking = request({ ...placeOf(address), path, headers: { accept: 'text/plain' }, agent: false, signal })
    asking.on('response', (response) => void textOf(response).then(resolve, reject))
    asking.on('error', reject)
    asking.end()
  })
}

async function textOf(response: IncomingMessage): Promise<Omit<Told, 'address'>> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of response) {
    if (!Buffer.isBuffer(part)) continue
    size += part.length
    if (size > mostBytes) throw new Error('too long')
    parts.push(part)
  }
  return { status: response.statusCode ?? 0, headers: response.headers, text: Buffer.concat(parts).toString() }
}

/** Where to connect for `127.0.0.1:8501`, `[::1]:8501`, `unix:/path`. Who listens on all addresses listens on this machine's own. */
function placeOf(address: string): RequestOptions {
  if (address.startsWith('unix:')) return { socketPath: address.slice('unix:'.length) }
  const [, host = '', port] = /^\[?(.*?)\]?:(\d+)$/.exec(address) ?? []
  const own: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' }
  return { host: own[host] ?? host, port: Number(port) }
}
