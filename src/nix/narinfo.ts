// The narinfo: what a binary cache says about one store path. Read strictly where we or a client rely on it, kept as it came elsewhere.

import { ProxyError } from '../errors.ts'
import { parseCompression, type Compression } from './compression.ts'
import { parseContentAddress } from './content-address.ts'
import { parseHash, parseSha256, type Sha256 } from './hash.ts'
import { parseSignature, type Signature } from './signature.ts'
import { isBaseName, parseStorePath, type StorePath } from './store-path.ts'

type Field = readonly [key: string, value: string]

export interface NarInfo {
  readonly storePath: StorePath
  /** As the sender wrote it. It may be anything that fits on a line: whoever fetches it decides where it may lead. */
  readonly url: string
  readonly compression: Compression
  /** Of the NAR file as it travels; undefined where the sender gave none, or one that is not sha256. */
  readonly fileHash: Sha256 | undefined
  /** Bytes of the NAR file as it travels. */
  readonly fileSize: number | undefined
  /** Of the unpacked NAR. */
  readonly narHash: Sha256
  /** Bytes of the unpacked NAR, at least 1. */
  readonly narSize: number
  /** Base names in the sender's order, none twice. */
  readonly references: readonly string[]
  /** A base name. */
  readonly deriver: string | undefined
  /** A content address, well-formed; whether it is true is for provesItsPath to say. */
  readonly ca: string | undefined
  /** In the sender's order, none twice, only well-formed ones. */
  readonly signatures: readonly Signature[]
  /** All lines in their order as a client may get them, unknown ones too. There is always one URL and one Compression. */
  readonly fields: readonly Field[]
}

/** Lines of which there may be one. A client takes the last of several, and we will not guess which one was meant. */
const single = new Set([
  'StorePath',
  'URL',
  'Compression',
  'FileHash',
  'FileSize',
  'NarHash',
  'NarSize',
  'References',
  'Deriver',
  'CA',
])
/** Clients refuse a second line of these, also when it says the same. */
const neverTwice = new Set(['References', 'CA'])
/** Without a value these say nothing, but clients refuse them. */
const leftOutWhenEmpty = new Set(['FileHash', 'FileSize', 'Deriver', 'CA'])

const longestUrl = 2048
const keyPattern = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/
/** Control characters, but for the ones that end or indent lines. */
const control = /[^\P{Cc}\t\r\n]|\r(?![\r\n]|$)/u

/**
 * Reads a narinfo. CRLF, a byte order mark, a missing final newline, blank lines, `#` comments and odd spacing are put right;
 * malformed Sig lines are dropped. Throws ProxyError('bad-narinfo') for anything that would make two readers disagree or a client
 * stop: missing, contradictory or unreadable fields, a path outside `storeDir`, HTML.
 */
export function parseNarInfo(text: string, storeDir: string): NarInfo {
  const lines = readLines(text)
  const said = new Map(lines)
  const need = (key: string) => said.get(key) || refuse(`no ${key}`)

  const path = need('StorePath')
  const storePath = parseStorePath(path, storeDir) ?? refuse(`StorePath ${quote(path)} is not a path in ${storeDir}`)
  const url = need('URL')
  if (url.length > longestUrl) refuse(`URL of ${url.length} characters`)
  if (/[\\\t]/.test(url)) refuse(`URL ${quote(url)} has a backslash or a tab`)
  const packed = said.get('Compression') ?? ''
  const compression = parseCompression(packed) ?? refuse(`unknown Compression ${quote(packed)}`)
  const hash = need('NarHash')
  const narHash = parseSha256(hash) ?? refuse(`NarHash ${quote(hash)} is not a sha256`)
  const narSize = readSize('NarSize', need('NarSize')) || refuse('NarSize is 0')
  const fileHash = readFileHash(said.get('FileHash'))
  const fileSize = readSize('FileSize', said.get('FileSize') ?? '0') || undefined
  const references = readReferences(said.get('References') ?? '')
  const deriver = said.get('Deriver')
  if (deriver !== undefined && deriver !== 'unknown-deriver' && !isBaseName(deriver)) {
    refuse(`Deriver ${quote(deriver)} is not a base name`)
  }
  const ca = said.get('CA')
  if (ca !== undefined && !parseContentAddress(ca)) refuse(`CA ${quote(ca)} is not a content address`)

  const signatures = new Map<string, Signature>()
  const fields: Field[] = []
  for (const field of lines) {
    const [key, value] = field
    if (key === 'URL') {
      fields.push(field, ...(said.has('Compression') ? [] : [['Compression', compression] as const]))
    } else if (key === 'Compression') {
      fields.push([key, compression])
    } else if (key === 'References') {
      fields.push([key, references.join(' ')])
    } else if (key === 'Sig') {
      const signature = parseSignature(value)
      if (!signature || signatures.has(value)) continue
      signatures.set(value, signature)
      fields.push(field)
    } else if (key !== 'FileHash' || fileHash) {
      fields.push(field)
    }
  }
  return {
    storePath,
    url,
    compression,
    fileHash,
    fileSize,
    narHash,
    narSize,
    references,
    deriver: deriver === 'unknown-deriver' ? undefined : deriver,
    ca,
    signatures: [...signatures.values()],
    fields,
  }
}

/** Writes a narinfo as a client may get it: all fields in their order, with another URL. */
export function printNarInfo(info: NarInfo, url: string): string {
  return info.fields.map(([key, value]) => `${key}: ${key === 'URL' ? url : value}\n`).join('')
}

/** What `printNarInfo` printed, with another URL: the same as if it had been read and printed again. */
export function withUrl(printed: string, url: string): string {
  const start = printed.startsWith('URL: ') ? 0 : printed.indexOf('\nURL: ') + 1
  return `${printed.slice(0, start)}URL: ${url}${printed.slice(printed.indexOf('\n', start))}`
}

/** The same narinfo with more signatures after its own; those that it has already are not repeated. */
export function withSignatures(info: NarInfo, more: readonly Signature[]): NarInfo {
  const lines = new Set(info.signatures.map(({ line }) => line))
  const added = more.filter(({ line }) => !lines.has(line) && lines.add(line))
  const after = info.fields.findLastIndex(([key]) => key === 'Sig') + 1 || info.fields.length
  return {
    ...info,
    signatures: [...info.signatures, ...added],
    fields: info.fields.toSpliced(after, 0, ...added.map(({ line }) => ['Sig', line] as const)),
  }
}

/** The lines as keys and trimmed values, repeats of single fields removed. */
function readLines(text: string): readonly Field[] {
  const found = control.exec(text)
  if (found) refuse(`control character with code ${found[0].charCodeAt(0)}`)
  const seen = new Map<string, string>()
  const fields: Field[] = []
  for (const line of text.replace(/^\uFEFF/, '').split('\n')) {
    if (line.startsWith('#') || line.trim() === '') continue
    const colon = line.indexOf(':')
    const key = line.slice(0, Math.max(colon, 0))
    if (!keyPattern.test(key)) refuse(`${quote(line)} is not a line of a narinfo`)
    const value = line.slice(colon + 1).trim()
    if (single.has(key)) {
      const before = seen.get(key)
      if (before !== undefined && (before !== value || neverTwice.has(key))) refuse(`two lines ${key}`)
      if (before !== undefined) continue
      seen.set(key, value)
    }
    if (value !== '' || !leftOutWhenEmpty.has(key)) fields.push([key, value])
  }
  return fields
}

/** A number of bytes: decimal digits only, at most 2^53 - 1. */
function readSize(key: string, text: string): number {
  const size = /^[0-9]+$/.test(text) ? Number(text) : NaN
  return Number.isSafeInteger(size) ? size : refuse(`${key} ${quote(text)} is not a number of bytes`)
}

/** No client ever checks FileHash, but old ones refuse algorithms they do not know: so we keep sha256 and pass over the others. */
function readFileHash(text: string | undefined): Sha256 | undefined {
  if (text === undefined) return undefined
  const hash = parseSha256(text)
  if (!hash && !parseHash(text)) refuse(`FileHash ${quote(text)} is not a hash`)
  return hash
}

function readReferences(text: string): readonly string[] {
  const names = text === '' ? [] : text.split(/[ \t]+/)
  const wrong = names.find((name) => !isBaseName(name))
  if (wrong !== undefined) refuse(`reference ${quote(wrong)} is not a base name`)
  return [...new Set(names)]
}

function refuse(why: string): never {
  throw new ProxyError('bad-narinfo', `narinfo: ${why}`)
}

/** A piece of a stranger's text that is safe and short enough for a log. */
function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
}
