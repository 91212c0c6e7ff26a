// Reads the files that a configuration names: trusted keys, netrc, request headers, uploaders. Once, at start, before anything is
// bound or created; every mistake in them is named at once, by key, file and line, and no secret is repeated.

import { readFile, stat } from 'node:fs/promises'

import { isKeyPath } from './config-values.ts'
import type { Config, UpstreamConfig } from './config.ts'
import { messageOf, ProxyError } from './errors.ts'
import { netrcEntry, parseNetrc } from './netrc.ts'
import { parsePublicKey, type TrustedKey, type TrustedKeys } from './nix/signature.ts'

export interface Credentials {
  /** Empty only where the configuration has no keys: pass-through mode. */
  readonly keys: TrustedKeys
  /** By the upstream's name: what to send with every request to its own origin, names in lower case, `authorization` from netrc. */
  readonly headers: ReadonlyMap<string, Readonly<Record<string, string>>>
  /** Passwords by login of those who may upload; empty when no file is named. */
  readonly uploaders: ReadonlyMap<string, string>
  /** Sentences for the log: secrets that everybody on this machine may read. */
  readonly warnings: readonly string[]
}

/** Far more than any of these files has; what is larger was named by mistake. */
const largestFile = 1024 * 1024

/**
 * Reads them all. Throws one ProxyError `bad-config` with a line for each mistake:
 * `trust.keys[1]: /etc/substrata/keys: line 3: …`.
 */
export async function readCredentials(config: Config): Promise<Credentials> {
  const reader = new Reader()
  const keys = await trustedKeys(config.trust.keys, reader)
  const headers = new Map<string, Readonly<Record<string, string>>>()
  for (const [s, { upstreams }] of config.strata.entries()) {
    for (const [u, upstream] of upstreams.entries()) {
      headers.set(upstream.name, await headersOf(upstream, `strata[${s}].upstreams[${u}]`, reader))
    }
  }
  const uploaders = new Map<string, string>()
  const file = config.server.uploads?.credentials
  if (file !== undefined) {
    for (const { number, text } of await reader.lines('server.uploads', file)) {
      reader.attempt('server.uploads', file, number, () => addUploader(uploaders, text))
    }
    if (uploaders.size === 0) reader.complain('server.uploads', file, 'holds no login:password line')
  }
  if (reader.mistakes.length > 0) throw new ProxyError('bad-config', reader.mistakes.join('\n'))
  return { keys, headers, uploaders, warnings: reader.warnings }
}

/** Reads files and gathers what is wrong with them, so that one run shows everything. */
class Reader {
  readonly mistakes: string[] = []
  readonly warnings: string[] = []

  /** The text of a file; empty when it could not be read, which is a mistake of its own. */
  async text(key: string, file: string, secret: boolean): Promise<string> {
    try {
      const { mode, size } = await stat(file)
      if (size > largestFile) throw new Error(`is too large (${size} bytes)`)
      const readable = secret && (mode & 0o004) !== 0
      if (readable) this.warnings.push(`${key}: ${file} can be read by everybody on this machine; chmod 600 it`)
      return await readFile(file, 'utf8')
    } catch (error) {
      this.complain(key, file, reasonOf(error))
      return ''
    }
  }

  /** The lines of a file that say something: neither empty nor a comment. They are trimmed, and counted from 1. */
  async lines(key: string, file: string, secret = true): Promise<readonly { number: number; text: string }[]> {
    const text = await this.text(key, file, secret)
    return text
      .replace(/^\uFEFF/, '')
      .split(/\r?\n/)
      .map((line, i) => ({ number: i + 1, text: line.trim() }))
      .filter((line) => line.text !== '' && !line.text.startsWith('#'))
  }

  /** Tries something on one line of a file; a ProxyError it throws is a mistake in that line. */
  attempt<T>(key: string, file: string, line: number, what: () => T): T | undefined {
    try {
      return what()
    } catch (error) {
      if (!(error instanceof ProxyError)) throw error
      this.complain(key, file, `line ${line}: ${error.message}`)
      return undefined
    }
  }

  /** An unreadable file has been complained about, and looks empty: the first complaint about a file by a key is enough. */
  complain(key: string, file: string, what: string): void {
    const place = `${key}: ${file}: `
    const consequence = what.startsWith('holds no ') && this.mistakes.some((mistake) => mistake.startsWith(place))
    if (!consequence) this.mistakes.push(place + what)
  }
}

function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'ENOENT') return 'there is no such file'
  if (code === 'EACCES') return 'may not be read by this user'
  if (code === 'EISDIR') return 'is a directory'
  return messageOf(error)
}

/**
 * Keys from the configuration and the files it names. The same key twice is one; two keys of one name are a mistake, because Nix
 * and we would only ever look at the first. A file without any key is one too: it must not mean that nothing is verified.
 */
async function trustedKeys(written: readonly string[], reader: Reader): Promise<TrustedKeys> {
  const keys = new Map<string, TrustedKey>()
  const add = (text: string): void => {
    const key = parsePublicKey(text)
    const known = keys.get(key.name)
    if (known !== undefined && Buffer.compare(known.raw, key.raw) !== 0) {
      throw new ProxyError('bad-config', `another key is called ${key.name} already`)
    }
    keys.set(key.name, key)
  }
  for (const [i, text] of written.entries()) {
    const place = `trust.keys[${i}]`
    if (!isKeyPath(text)) {
      try {
        add(text)
      } catch (error) {
        reader.mistakes.push(`${place}: ${messageOf(error)}`)
      }
      continue
    }
    const lines = await reader.lines(place, text, false)
    if (lines.length === 0) reader.complain(place, text, 'holds no key')
    // A line may be a value of nix.conf, with several keys.
    for (const line of lines) {
      for (const one of line.text.split(/\s+/)) reader.attempt(place, text, line.number, () => add(one))
    }
  }
  return [...keys.values()]
}

/** The headers of an upstream's headers file, and the Authorization that its netrc file gives. */
async function headersOf(
  upstream: UpstreamConfig,
  place: string,
  reader: Reader,
): Promise<Readonly<Record<string, string>>> {
  const headers = new Map<string, string>()
  if (upstream.headers !== undefined) {
    const [key, file] = [`${place}.headers`, upstream.headers]
    for (const { number, text } of await reader.lines(key, file)) {
      reader.attempt(key, file, number, () => addHeader(headers, text))
    }
  }
  if (upstream.netrc !== undefined) {
    const [key, file] = [`${place}.netrc`, upstream.netrc]
    try {
      // As curl looks it up: without port and brackets.
      const host = new URL(upstream.url).hostname.replaceAll(/[[\]]/g, '')
      const entry = netrcEntry(parseNetrc(await reader.text(key, file, true)), host)
      if (entry === undefined) reader.complain(key, file, `holds no machine ${host} and no default`)
      else if (headers.has('authorization')) reader.complain(key, file, 'the headers file has an Authorization already')
      else headers.set('authorization', `Basic ${Buffer.from(`${entry.login}:${entry.password}`).toString('base64')}`)
    } catch (error) {
      if (!(error instanceof ProxyError)) throw error
      reader.complain(key, file, error.message)
    }
  }
  return Object.fromEntries(headers)
}

/** What the protocol needs for itself: another value would break transfers, or let one request be read as two. */
const ours = new Set([
  'accept-encoding',
  'cache-control',
  'cdn-loop',
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'range',
  'te',
  'transfer-encoding',
  'upgrade',
])

/** Adds a line `Name: value`. Field names are tokens, values visible ASCII with spaces (RFC 9110, 5.1 and 5.5). */
function addHeader(headers: Map<string, string>, line: string): void {
  const { name: written, value } = /^(?<name>[\w!#$%&'*+.^`|~-]+):\s*(?<value>[\x20-\x7e\t]+)$/.exec(line)?.groups ?? {}
  if (written === undefined || value === undefined) throw new ProxyError('bad-config', 'is not like "Name: value"')
  const name = written.toLowerCase()
  if (ours.has(name)) throw new ProxyError('bad-config', `the header ${written} is ours to set`)
  if (headers.has(name)) throw new ProxyError('bad-config', `the header ${written} stands there twice`)
  headers.set(name, value.trim())
}

/** Adds a line `login:password` under its login: the same login twice would mean that one of the passwords is forgotten. */
function addUploader(uploaders: Map<string, string>, line: string): void {
  const { login, password } = /^(?<login>[^:]+):(?<password>.+)$/.exec(line)?.groups ?? {}
  if (login === undefined || password === undefined) throw new ProxyError('bad-config', 'is not like "login:password"')
  if (uploaders.has(login)) throw new ProxyError('bad-config', `the login ${login} stands there twice`)
  uploaders.set(login, password)
}
