// The one exception of this program: a miss is a value (undefined), everything that could not be found out is a ProxyError.

/**
 * Why something could not be done. The list is closed: server/errors.ts holds a status for every code, and does not compile
 * without one.
 */
export type ErrorCode =
  /** The client's request makes no sense (URL, header, body). */
  | 'bad-request'
  /** The client's Range lies outside the NAR. */
  | 'bad-range'
  /** The client may not do this (upload without credentials). */
  | 'forbidden'
  /** A configuration file, flag or key file says something we cannot use. Found at start. */
  | 'bad-config'
  /** It answered, but not with a narinfo of the path that was asked (captive portal, wrong path, endless body). */
  | 'bad-narinfo'
  /** No signature of a trusted key where one is required (an upload; an upstream without one has simply missed). */
  | 'untrusted'
  /** No connection: refused, reset, DNS, TLS, or health says not to try now. */
  | 'unreachable'
  /** It did not answer, or not fast enough. */
  | 'timeout'
  /** A status that is neither yes nor no: 401, 429, 5xx, a redirect we do not follow. */
  | 'bad-status'
  /** The address is one that the operator did not allow (another host, loopback, link-local …). */
  | 'bad-address'
  /** The bytes are not the ones that were promised: hash, length, Content-Range, Content-Encoding. */
  | 'damaged'
  /** The narinfo is known, and nobody has its NAR any more. */
  | 'gone'
  /** No room on disk, or larger than the whole budget. */
  | 'store-full'
  /** The disk or the catalogue failed. */
  | 'store-failed'
  /** Too many questions are waiting already. */
  | 'overloaded'
  /** Whoever asked has gone, or another was faster. */
  | 'aborted'

/** A failure with a code and a sentence that begins with who speaks: `upstream cache.nixos.org: 503 Service Unavailable`. */
export class ProxyError extends Error {
  override readonly name = 'ProxyError'
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options: { readonly cause?: unknown } = {}) {
    super(message, options)
    this.code = code
  }
}

/** The code of a failure, whatever was thrown: an AbortSignal's reason counts as aborted, the unknown as undefined. */
export function codeOf(error: unknown): ErrorCode | undefined {
  if (error instanceof ProxyError) return error.code
  if (error instanceof Error && error.name === 'AbortError') return 'aborted'
  if (error instanceof Error && error.name === 'TimeoutError') return 'timeout'
  return undefined
}

/** What a failure says, on one line. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
