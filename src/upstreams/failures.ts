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

/** Something else answers in its place: a web page where there should be a text, or a redirect to a login. */
export class NotTheCache extends ProxyError {
  constructor(who: string, what: string, options: { readonly cause?: unknown } = {}) {
    super('bad-narinfo', `${who}: ${what}; a captive portal?`, options)
  }
}

/** A redirect of a small text that leads where we may not go is a login's, not the cache's; anything else is as it was. */
export function elsewhere(who: string, error: unknown): unknown {
  if (codeOf(error) !== 'bad-address') return error
  return new NotTheCache(who, messageOf(error).replace(`${who}: `, ''), { cause: error })
}

/** True for a text that no narinfo and no nix-cache-info begins like. */
export function isWebPage(text: string): boolean {
  return text.trimStart().startsWith('<')
}

/** What is wrong with the link, as far as one upstream's failure can tell. */
export type LinkTrouble = 'offline' | 'portal'

/** Undefined: the failure is the server's own, or that of what it says. */
export function linkTrouble(failure: ProxyError): LinkTrouble | undefined {
  // 511: RFC 6585, 6.
  if (failure instanceof NotTheCache || (failure instanceof BadStatus && failure.status === 511)) return 'portal'
  if (failure.code !== 'unreachable' && failure.code !== 'timeout') return undefined
  return strangersCertificate.has(systemCode(failure.cause) ?? '') ? 'portal' : 'offline'
}

/** How a portal that terminates TLS itself looks. */
const strangersCertificate = new Set(['ERR_TLS_CERT_ALTNAME_INVALID', 'DEPTH_ZERO_SELF_SIGNED_CERT'])

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
