// What went wrong with a connection, in the words of this program: a ProxyError whose sentence says who and what.

import { STATUS_CODES } from 'node:http'

import { errors } from 'undici'

import { ProxyError, codeOf, messageOf } from '../errors.ts'

/** A status that is neither yes nor no: `upstream cache.nixos.org: 503 Service Unavailable`. */
export class BadStatus extends ProxyError {
  readonly status: number
  /** How long it wants to be left alone, ms. */
  readonly retryAfter: number | undefined

  constructor(who: string, status: number, retryAfter?: number) {
    super('bad-status', `${who}: ${status} ${STATUS_CODES[status] ?? ''}`.trimEnd())
    this.status = status
    this.retryAfter = retryAfter
  }
}

/** Its health says not to ask it now. */
export class NotAsked extends ProxyError {
  readonly why: string

  constructor(who: string, why: string, cause: ProxyError | undefined) {
    super('unreachable', `${who}: ${why}`, cause === undefined ? {} : { cause })
    this.why = why
  }
}

const words: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EPIPE: 'connection closed as we wrote',
  EHOSTUNREACH: 'no route to it',
  ENETUNREACH: 'network unreachable',
  EADDRNOTAVAIL: 'no address of ours fits',
  ENOTFOUND: 'its name is not known',
  EAI_AGAIN: 'its name cannot be looked up now',
  CERT_NOT_YET_VALID: "its certificate is not valid yet; is this machine's clock right?",
  CERT_HAS_EXPIRED: "its certificate has expired, or this machine's clock is wrong",
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is self-signed',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate chain is self-signed',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
}

/**
 * Turns whatever a request threw into a ProxyError: `unreachable` without a connection, `timeout`, `damaged` for what is no HTTP,
 * `aborted` when we stopped it ourselves. One of ours keeps its code and is told who is meant.
 * @param who how the sentence begins: `upstream cache.nixos.org`
 */
export function failureOf(who: string, error: unknown): ProxyError {
  if (error instanceof ProxyError) {
    return error.message.startsWith(who)
      ? error
      : new ProxyError(error.code, `${who}: ${error.message}`, { cause: error })
  }
  const cause = { cause: error }
  const stopped = error instanceof errors.ClientDestroyedError || error instanceof errors.ClientClosedError
  if (stopped || codeOf(error) === 'aborted') return new ProxyError('aborted', `${who}: no longer asked`, cause)
  const code = systemCode(error)
  if (code === 'ETIMEDOUT' || code === 'UND_ERR_CONNECT_TIMEOUT') {
    return new ProxyError('timeout', `${who}: no connection in time`, cause)
  }
  if (code === 'UND_ERR_SOCKET') return new ProxyError('unreachable', `${who}: hung up`, cause)
  if (error instanceof errors.HTTPParserError || error instanceof errors.HeadersOverflowError) {
    return new ProxyError('damaged', `${who}: does not speak HTTP (${code ?? messageOf(error)})`, cause)
  }
  return new ProxyError('unreachable', `${who}: ${words[code ?? ''] ?? messageOf(error)}`, cause)
}

/** True where the connection ended under a request: on one that was kept alive, that is nobody's fault, and asking again is right. */
export function wasHungUp(error: unknown): boolean {
  return ['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'].includes(systemCode(error) ?? '')
}

/** Of several addresses tried at once, the first failure speaks. */
function systemCode(error: unknown): string | undefined {
  if (error instanceof AggregateError && error.errors.length > 0) return systemCode(error.errors[0])
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
