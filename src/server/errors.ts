// The one file that knows HTTP statuses of failures: what a client is told for every code, when it asks and when it uploads.

import { codeOf, messageOf, type ErrorCode } from '../errors.ts'

interface Answer {
  /**
   * For a client that asks. 404: it need not try again. 502 and 504: it may. Never 401, 403, 429 or 503, which clients take for
   * something else (NixOS/nix filetransfer.cc: a miss, or a wait of up to 75 s).
   */
  readonly asked: number
  /** For a client that uploads. A 4xx ends it at once, a 5xx is tried again. */
  readonly uploaded: number
  /** The whole of what a client who asks is told: names of upstreams and paths of files are for the log. */
  readonly says: string
}

const answers = {
  'bad-request': { asked: 400, uploaded: 400, says: 'this request makes no sense' },
  'bad-range': { asked: 416, uploaded: 400, says: 'the range lies outside the file' },
  forbidden: { asked: 404, uploaded: 403, says: 'not allowed' },
  'bad-config': { asked: 500, uploaded: 500, says: 'the proxy is not set up right' },
  'bad-narinfo': { asked: 502, uploaded: 400, says: 'not a usable narinfo' },
  untrusted: { asked: 404, uploaded: 403, says: 'no signature of a trusted key' },
  unreachable: { asked: 502, uploaded: 502, says: 'whoever may have it cannot be reached' },
  timeout: { asked: 504, uploaded: 408, says: 'nobody answered in time' },
  'bad-status': { asked: 502, uploaded: 502, says: 'whoever may have it cannot give it now' },
  'bad-address': { asked: 502, uploaded: 400, says: 'it lies at an address that is not allowed' },
  damaged: { asked: 502, uploaded: 422, says: 'the bytes are not the ones that were promised' },
  gone: { asked: 404, uploaded: 409, says: 'nobody has it any more' },
  'store-full': { asked: 502, uploaded: 507, says: 'no room on disk' },
  'store-failed': { asked: 502, uploaded: 500, says: 'the disk fails' },
  overloaded: { asked: 504, uploaded: 503, says: 'too many questions are waiting already' },
  aborted: { asked: 502, uploaded: 400, says: 'it was given up' },
} satisfies Record<ErrorCode, Answer>

/** Codes whose sentence is about what the client itself sent, and may be told to it. */
const aboutTheUpload: ReadonlySet<ErrorCode> = new Set(['bad-request', 'bad-narinfo', 'untrusted', 'damaged', 'gone'])

export interface Refusal {
  readonly status: number
  readonly says: string
}

/** What a client who asked is told of a failure. What is not a ProxyError is a mistake of ours: 500. */
export function refusalOf(error: unknown): Refusal {
  const code = codeOf(error)
  return code ? { status: answers[code].asked, says: answers[code].says } : { status: 500, says: 'internal error' }
}

/** What a client who uploads is told of a failure, with the reason where it lies in the upload. */
export function uploadRefusalOf(error: unknown): Refusal {
  const code = codeOf(error)
  if (!code) return { status: 500, says: 'internal error' }
  const { uploaded: status, says } = answers[code]
  return { status, says: aboutTheUpload.has(code) ? `${says}: ${messageOf(error)}` : says }
}
