// The values of single configuration keys and flags that have a syntax of their own. Each parser throws a ProxyError `bad-config`
// whose message goes on after the key's or flag's name: `"127.0.0.1" has no port; write "127.0.0.1:8501"`.

import { isIP } from 'node:net'

import { ProxyError } from './errors.ts'
import { parsePublicKey } from './nix/signature.ts'

/**
 * The base URL of a binary cache, normalised, with a final slash: `https://cache.nixos.org/`. A NAR's URL is resolved against it.
 * A link-local address names its interface as RFC 6874 has it (`http://[fe80::1%25wlan0]:8501/`), which `URL` cannot read.
 */
export function parseCacheUrl(value: unknown): string {
  const text = parseText(value, 'the URL of a binary cache, like "https://cache.nixos.org"')
  const [, before = text, zone, after = ''] = /^(https?:\/\/\[[0-9a-f:.]+)%(?:25)?([\w.-]+)(\].*)$/i.exec(text) ?? []
  const url = URL.canParse(before + after) ? new URL(before + after) : undefined
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    const noScheme = /^[\w.-]+(:\d+)?(\/|$)/.test(text)
    const hint = noScheme ? `write "http://${text}" or "https://${text}"` : 'it begins with http:// or https://'
    throw refused(`${JSON.stringify(text)} is not the URL of an HTTP binary cache; ${hint}`)
  }
  // The complaint must not repeat the URL: it may end in a log, and this one holds a secret.
  if (url.username !== '' || url.password !== '') {
    throw refused('holds a login or password; put them into a netrc file and name that file with the key netrc')
  }
  if (url.search !== '' || url.hash !== '') {
    throw refused(
      `${JSON.stringify(text)} ends in parameters; those are for nix.conf, here the order of the strata decides`,
    )
  }
  if (!url.pathname.endsWith('/')) url.pathname += '/'
  return zone === undefined ? url.href : url.href.replace(']', `%25${zone}]`)
}

/** The base URL of a peer: as {@link parseCacheUrl}, but without an interface, which peers' addresses cannot name yet. */
export function parsePeerUrl(value: unknown): string {
  const url = parseCacheUrl(value)
  if (splitZone(url).zone !== undefined)
    throw refused(`${JSON.stringify(url)} names an interface; give a peer's address without one`)
  return url
}

/** Takes the interface out of what {@link parseCacheUrl} gave: `http://[fe80::1]:8501/` and `wlan0`. */
export function splitZone(url: string): { readonly url: string; readonly zone: string | undefined } {
  const zone = /^https?:\/\/\[[^\]%]+%25([^\]]+)\]/.exec(url)?.[1]
  return { url: zone === undefined ? url : url.replace(`%25${zone}]`, ']'), zone }
}

/** Where to listen: `127.0.0.1:8501`, `[::1]:8501`, `localhost:8501` or `unix:/run/substrata.sock`. Port 0 takes a free one. */
export function parseListen(value: unknown): string {
  const examples = '"127.0.0.1:8501", "[::1]:8501" or "unix:/run/substrata.sock"'
  const text = parseText(value, `an address like ${examples}`)
  if (text.startsWith('unix:')) {
    if (!text.startsWith('unix:/'))
      throw refused(`${JSON.stringify(text)} needs a whole path; write "unix:/run/substrata.sock"`)
    return text
  }
  const { host, port } = /^(?<host>\[[^\]]+\]|[^:[\]]+):(?<port>\d{1,5})$/.exec(text)?.groups ?? {}
  if (host === undefined || port === undefined) {
    if (isIP(text) === 6) throw refused(`${JSON.stringify(text)} needs brackets and a port; write "[${text}]:8501"`)
    if (/^:?\d+$/.test(text))
      throw refused(`${JSON.stringify(text)} names no address; write "127.0.0.1:${text.replace(':', '')}"`)
    if (/^[^:/\s]+$/.test(text)) throw refused(`${JSON.stringify(text)} has no port; write "${text}:8501"`)
    throw refused(`${JSON.stringify(text)} is not an address to listen on, like ${examples}`)
  }
  if (Number(port) > 65_535) throw refused(`${JSON.stringify(text)} has a port beyond 65535`)
  const bracketed = host.startsWith('[') ? host.slice(1, -1) : undefined
  const isAddress = bracketed === undefined ? isIP(host) === 4 || isHostName(host) : isIP(bracketed) === 6
  if (!isAddress) throw refused(`${JSON.stringify(text)} is not an address to listen on, like ${examples}`)
  return text
}

/**
 * A host that an upstream may lead to besides its own: `cdn.example.org`, `*.example.org` (any name below it), `10.0.0.7:8080`; with a
 * port when it is not the scheme's usual one.
 */
export function parseHost(value: unknown): string {
  const text = parseText(value, 'a host name like "cdn.example.org"').toLowerCase()
  const name = text.replace(/^\*\./, '')
  const plain = URL.canParse(`http://${name}`) && !/[/@?#*\s]/.test(name)
  if (!plain)
    throw refused(`${JSON.stringify(text)} is not a host like "cdn.example.org", "*.example.org" or "10.0.0.7:8080"`)
  return text
}

/** A block of addresses: `192.0.2.0/24`, `2001:db8::/32`; a single address is a block of one. */
export function parseAddressBlock(value: unknown): string {
  const text = parseText(value, 'a block of addresses like "192.0.2.0/24"')
  const [address = '', prefix, more] = text.split('/')
  const bits = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1
  const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : Infinity
  if (bits < 0 || more !== undefined || length > bits) {
    throw refused(`${JSON.stringify(text)} is not a block of addresses like "192.0.2.0/24" or "2001:db8::/32"`)
  }
  return `${address}/${length}`
}

/**
 * A trusted key (`name:base64`) or the path of a file of them, which begins with `/`, `./` or `../`. A key is checked here, a file
 * when it is read; the text is returned as it came, trimmed.
 */
export function parseKeyOrPath(value: unknown): string {
  const text = parseText(value, 'a key like "cache.nixos.org-1:6NCH…", or the path of a file of keys')
  if (isKeyPath(text)) return text
  if (text.startsWith('~')) return parsePath(text)
  if (/\s/.test(text)) throw refused('holds white space; write each key as a text of its own: ["one:…", "two:…"]')
  parsePublicKey(text)
  return text
}

/** Tells the path of a file of keys from a key: names of keys hold no slash. */
export function isKeyPath(text: string): boolean {
  return /^\.{0,2}\//.test(text)
}

/** The path of a file or directory. A shell's `~` and variables mean nothing in a configuration file. */
export function parsePath(value: unknown): string {
  const text = parseText(value, 'a path like "/var/lib/substrata"')
  if (text.startsWith('~')) throw refused(`${JSON.stringify(text)}: "~" is not expanded here; write the whole path`)
  if (text.includes('\0')) throw refused('holds a NUL character')
  return text
}

/** Nix's store directory: an absolute path without a final slash. */
export function parseStoreDir(value: unknown): string {
  const text = parsePath(value)
  if (!/^(\/[^/\s]+)+$/.test(text)) throw refused(`${JSON.stringify(text)} is not a store directory like "/nix/store"`)
  return text
}

/** A name for logs, metrics and response headers: letters, digits and `. _ - : / @ + # % [ ]`, at most 100. */
export function parseName(value: unknown): string {
  const text = parseText(value, 'a name')
  if (!/^[\w.:/@+#%[\]-]{1,100}$/.test(text)) {
    throw refused(`${JSON.stringify(text)} is no name; it has at most 100 letters, digits and . _ - : / @ + #`)
  }
  // Our own disk stands under this name in every trail and metric.
  if (text === 'store') throw refused('"store" is the name of our own disk')
  return text
}

function parseText(value: unknown, expected: string): string {
  if (value === undefined) throw refused(`is missing; it is ${expected}`)
  if (typeof value !== 'string') throw refused(`expected ${expected}, found ${JSON.stringify(value)}`)
  const text = value.trim()
  if (text === '') throw refused(`is empty; it is ${expected}`)
  return text
}

function isHostName(text: string): boolean {
  return /^(?!.*\.\.)[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?$/.test(text) && !/^[\d.]+$/.test(text)
}

function refused(message: string): ProxyError {
  return new ProxyError('bad-config', message)
}
