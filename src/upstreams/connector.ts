// Makes connections for one upstream: within a time, to whichever of its addresses answers first, and only to allowed ones.

import { lookup as systemLookup, type LookupAddress } from 'node:dns'
import { isIP, Socket, type LookupFunction } from 'node:net'

import { buildConnector } from 'undici'

import { ProxyError } from '../errors.ts'
import { bareHost, isPublicAddress, reachOf, sameOrigin, type Bounds } from './address.ts'
import { mended } from './mended-socket.ts'
import { connectPlainly } from './plain-socket.ts'

export interface ConnectorOptions extends Bounds {
  /** For DNS, TCP and TLS together, ms. */
  readonly timeout: number
  /** Interface through which the upstream's own address is reached, where it is a link-local one. */
  readonly zone?: string | undefined
  /** Like `dns.lookup`. */
  readonly lookup?: LookupFunction | undefined
  /** Told of every connection that could not be made, by what it failed. */
  readonly failed?: ((error: Error) => void) | undefined
}

/**
 * Of every socket. RFC 8305: how long one address may be silent before the next is tried beside it, ms. And `mended` needs sockets that
 * stay open at their end.
 */
const common = { autoSelectFamily: true, autoSelectFamilyAttemptTimeout: 250, allowHalfOpen: true }
/** Silence on a connection after which the kernel asks whether the other end still lives, ms. */
const keepAliveProbe = 60_000

/**
 * The `connect` of an undici dispatcher. The address check lies between DNS and the connection, and what was checked is what is
 * connected to: a name that changes its mind (DNS rebinding) gains nothing. Fails with a ProxyError `bad-address` or `timeout`,
 * or with the error of the system.
 */
export function connectorFor(options: ConnectorOptions): buildConnector.connector {
  const { timeout, zone, lookup = systemLookup, failed } = options
  const anywhere = connectorBy(lookup)
  const publicly = connectorBy(publicOnly(lookup))
  return (to, callback) => {
    const url = new URL(`${to.protocol}//${to.host ?? to.hostname}`)
    const reach = reachOf(url, options)
    if (reach === undefined) {
      queueMicrotask(() => callback(new ProxyError('bad-address', `${url.host} is not allowed`), null))
      return
    }
    const zoned = zone !== undefined && sameOrigin(url, options.own) && isIP(bareHost(url)) === 6
    const connect = reach === 'any' ? anywhere : publicly
    // Its type hides it, but undici's connector gives the socket at once.
    const socket: unknown = connect(
      zoned ? { ...to, hostname: `${bareHost(url)}%${zone}` } : to,
      (...[error, made]) => {
        clearTimeout(timer)
        if (error === null) {
          callback(null, mended(made))
          return
        }
        // After those who wait for it.
        callback(error, null)
        failed?.(error)
      },
    )
    const timer = setTimeout(() => {
      if (socket instanceof Socket) socket.destroy(new ProxyError('timeout', `no connection within ${timeout} ms`))
    }, timeout)
  }
}

/** undici's own for TLS, and one that does the same for plain TCP with a socket of ours. */
function connectorBy(lookup: LookupFunction): buildConnector.connector {
  // Our own limit on time holds.
  const securely = buildConnector({ ...common, timeout: 0, lookup })
  return (to, callback) => {
    if (to.protocol === 'https:') return securely(to, callback)
    const socket = connectPlainly({ ...common, lookup, host: to.hostname, port: Number(to.port) || 80 })
    socket.setKeepAlive(true, keepAliveProbe).setNoDelay(true)
    const failed = (error: Error): void => callback(error, null)
    socket.once('error', failed).once('connect', () => {
      socket.off('error', failed)
      callback(null, socket)
    })
    return socket
  }
}

/** A lookup that gives only public addresses, and fails where there are none. */
export function publicOnly(lookup: LookupFunction): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      const all: LookupAddress[] = typeof found === 'string' ? [{ address: found, family: isIP(found) }] : found
      const allowed = error === null ? all.filter(({ address }) => isPublicAddress(address)) : []
      const [first] = allowed
      if (error !== null) callback(error, [])
      else if (first === undefined) callback(refusal(hostname, all), [])
      else if (options.all === true) callback(null, allowed)
      else callback(null, first.address, first.family)
    })
  }
}

function refusal(hostname: string, addresses: readonly LookupAddress[]): ProxyError {
  const shown = addresses.map(({ address }) => address).join(', ')
  return new ProxyError(
    'bad-address',
    `${hostname} has only addresses that are not public (${shown}); list them to allow them`,
  )
}
