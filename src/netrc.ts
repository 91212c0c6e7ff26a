// The netrc file, as Nix's netrc-file and curl have it: which login and password belong to which machine.

import { ProxyError } from './errors.ts'

export interface NetrcEntry {
  /** A host name in lower case, without port; undefined for the `default` entry. */
  readonly machine: string | undefined
  readonly login: string
  readonly password: string
}

/**
 * Reads `machine cache.example.org login me password secret`, on one line or several, with `default`, `account` (ignored), `macdef`
 * (skipped) and comment lines. Quotes hold white space, and a backslash in them takes the next letter as it is, with \n \r \t.
 * Throws a ProxyError `bad-config` that names the line and no secret: `line 3: "password" has no value`.
 */
export function parseNetrc(text: string): readonly NetrcEntry[] {
  const entries: { machine: string | undefined; login: string; password: string }[] = []
  const words = wordsOf(text)
  for (let word = words.next(); !word.done; word = words.next()) {
    const { text: keyword, line } = word.value
    const current = entries.at(-1)
    const value = () => {
      const next = words.next()
      if (next.done) throw refused(line, `"${keyword}" has no value`)
      return next.value.text
    }
    if (keyword === 'default') entries.push({ machine: undefined, login: '', password: '' })
    else if (keyword === 'machine') entries.push({ machine: value().toLowerCase(), login: '', password: '' })
    else if (keyword === 'login' || keyword === 'password') {
      if (current === undefined) throw refused(line, `"${keyword}" stands before any machine`)
      current[keyword] = value()
    } else if (keyword === 'account') value()
    // Not repeated in the complaint: most likely it is a part of a password that wants quotes.
    else throw refused(line, 'expected machine, default, login or password; a password with a space in it needs quotes')
  }
  return entries
}

/** The entry for a host: the first that names it, or a `default` that stands before it. Ports do not count, as in curl. */
export function netrcEntry(entries: readonly NetrcEntry[], host: string): NetrcEntry | undefined {
  return entries.find(({ machine }) => machine === undefined || machine === host.toLowerCase())
}

interface Word {
  readonly text: string
  /** Counted from 1. */
  readonly line: number
}

function* wordsOf(text: string): Generator<Word, undefined> {
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/)
  let inMacro = false
  for (const [i, content] of lines.entries()) {
    const line = i + 1
    // A macro ends with an empty line; a comment is a whole line, because passwords may hold a #.
    if (inMacro) inMacro = content.trim() !== ''
    if (inMacro || content.trimStart().startsWith('#')) continue
    let rest = content.trim()
    while (rest !== '') {
      const word = /^"((?:[^"\\]|\\.)*)"(?=\s|$)|^[^\s"]\S*/.exec(rest)
      if (word === null) throw refused(line, 'a quote is not closed, or something follows it without a space')
      const [whole, quoted] = word
      if (whole === 'macdef') {
        inMacro = true
        break
      }
      yield { text: quoted === undefined ? whole : unescape(quoted), line }
      rest = rest.slice(whole.length).trimStart()
    }
  }
  return undefined
}

function unescape(quoted: string): string {
  const special: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' }
  return quoted.replaceAll(/\\(.)/g, (_, letter: string) => special[letter] ?? letter)
}

function refused(line: number, what: string): ProxyError {
  return new ProxyError('bad-config', `line ${line}: ${what}`)
}
