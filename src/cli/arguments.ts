// The command line: which command, which flags, which operands. What it cannot mean is a WrongUse.

import { nearest } from '../config-complaints.ts'
import { parseCacheUrl, parseListen, parsePath } from '../config-values.ts'
import { messageOf } from '../errors.ts'
import { logLevels, type LogLevel } from '../log.ts'
import { parsePublicKey } from '../nix/signature.ts'
import { parseSize } from '../units.ts'

/** Flags that take a value, by command; those with `…` may be repeated. Beside them there are --help and --version. */
const flagsOf = {
  serve: ['config', 'listen…', 'store', 'upstream…', 'trusted-key…', 'max-size', 'log-level'],
  'check-config': ['config'],
  explain: ['config', 'store'],
  doctor: ['config', 'store'],
  verify: ['config', 'store'],
  pin: ['config', 'store'],
  unpin: ['config', 'store'],
  list: ['config', 'store'],
  rebuild: ['config', 'store'],
} as const satisfies Readonly<Record<string, readonly string[]>>

export type CommandName = keyof typeof flagsOf
export const commandNames = Object.keys(flagsOf).filter(isCommand)

/** A command line that means something. Flags are checked, in the units of Config. */
export interface Invocation {
  readonly command: CommandName
  /** Instead of running the command, explain it; `all`: no command was named. */
  readonly help: 'all' | 'command' | undefined
  readonly version: boolean
  readonly flags: Flags
  /** Store paths of explain, pin and unpin. */
  readonly operands: readonly string[]
}

export interface Flags {
  readonly config?: string | undefined
  readonly listen?: readonly string[] | undefined
  readonly store?: string | undefined
  readonly upstreams?: readonly string[] | undefined
  readonly trustedKeys?: readonly string[] | undefined
  readonly maxSize?: number | undefined
  readonly logLevel?: LogLevel | undefined
}

/** A command line that means nothing; the message is a sentence, `command` whose help would say more. */
export class WrongUse extends Error {
  override readonly name = 'WrongUse'
  readonly command: CommandName | undefined

  constructor(message: string, command?: CommandName) {
    super(message)
    this.command = command
  }
}

/** Reads the words after the program's name. Throws WrongUse. */
export function parseArguments(words: readonly string[]): Invocation {
  const [first] = words
  const named = first !== undefined && !first.startsWith('-')
  if (named && !isCommand(first)) {
    const near = nearest(first, commandNames)
    throw new WrongUse(`there is no command ${first}${near === undefined ? '' : `; did you mean ${near}?`}`)
  }
  const command = named && isCommand(first) ? first : 'serve'
  const { values, operands, help, version } = split(words.slice(named ? 1 : 0), command)
  if (help || version) {
    return { command, help: help ? (named ? 'command' : 'all') : undefined, version, flags: {}, operands: [] }
  }
  const takesPaths = command === 'pin' || command === 'unpin' || command === 'explain'
  if (takesPaths && operands.length === 0) throw new WrongUse(`${command} what? Name at least one store path`, command)
  if (!takesPaths && operands[0] !== undefined) {
    throw new WrongUse(`${command} takes no ${JSON.stringify(operands[0])}; flags begin with --`, command)
  }
  return { command, help: undefined, version, flags: checked(values, command), operands }
}

function isCommand(text: string): text is CommandName {
  return Object.hasOwn(flagsOf, text)
}

interface Split {
  readonly values: ReadonlyMap<string, readonly string[]>
  readonly operands: readonly string[]
  readonly help: boolean
  readonly version: boolean
}

/** `--flag value`, `--flag=value` and operands in any order; after `--` everything is an operand. */
function split(words: readonly string[], command: CommandName): Split {
  const flags: readonly string[] = flagsOf[command]
  const values = new Map<string, string[]>()
  const operands: string[] = []
  const switches = new Set<string>()
  const rest = [...words]
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === '--') {
      operands.push(...rest)
      break
    }
    if (!word.startsWith('-') || word === '-') {
      operands.push(word)
      continue
    }
    const [name = '', inline] = /^--([^=]+)=(.*)$/s.exec(word)?.slice(1) ?? [word.replace(/^--/, '')]
    if (inline === undefined && (name === 'help' || name === 'version')) {
      switches.add(name)
      continue
    }
    const repeatable = flags.includes(`${name}…`)
    if (!repeatable && !flags.includes(name)) throw unknownFlag(word, name, command)
    if (!repeatable && values.has(name)) throw new WrongUse(`--${name} stands there twice`, command)
    const value = inline ?? (rest[0]?.startsWith('--') === true ? undefined : rest.shift())
    if (value === undefined || value === '') throw new WrongUse(`--${name} needs a value`, command)
    values.set(name, [...(values.get(name) ?? []), value])
  }
  return { values, operands, help: switches.has('help'), version: switches.has('version') }
}

function unknownFlag(word: string, name: string, command: CommandName): WrongUse {
  const shown = word.split('=', 1)[0] ?? word
  const known = [...flagsOf[command].map((flag) => flag.replace('…', '')), 'help', 'version']
  const elsewhere = commandNames.filter((other) => flagsOf[other].some((flag) => flag.replace('…', '') === name))
  const near = shown === '-h' ? 'help' : shown === '-V' ? 'version' : nearest(name, known)
  if (near !== undefined) return new WrongUse(`${command} has no ${shown}; did you mean --${near}?`, command)
  if (elsewhere.length > 0)
    return new WrongUse(`${command} has no ${shown}; it belongs to ${elsewhere.join(', ')}`, command)
  return new WrongUse(`${command} has no ${shown}`, command)
}

/** Values mean the same as in the configuration file, and are refused in the same words. */
function checked(values: Split['values'], command: CommandName): Flags {
  const one = <T>(name: string, parse: (text: string) => T): T | undefined => many(name, parse)?.[0]
  const many = <T>(name: string, parse: (text: string) => T): readonly T[] | undefined =>
    values.get(name)?.map((text) => {
      try {
        return parse(text)
      } catch (error) {
        throw new WrongUse(`--${name}: ${messageOf(error)}`, command)
      }
    })
  return {
    config: one('config', (text) => text),
    listen: many('listen', parseListen),
    store: one('store', parsePath),
    upstreams: many('upstream', parseCacheUrl),
    trustedKeys: many('trusted-key', parseKey),
    maxSize: one('max-size', parseMaxSize),
    logLevel: one('log-level', parseLevel),
  }
}

/** A key itself, not a file of keys: a flag's value must mean the same wherever it is written. */
function parseKey(text: string): string {
  parsePublicKey(text)
  return text.trim()
}

function parseMaxSize(text: string): number {
  const size = parseSize(text)
  if (size > 0) return size
  throw new Error('must be more than nothing')
}

function parseLevel(text: string): LogLevel {
  const level = logLevels.find((known) => known === text)
  if (level !== undefined) return level
  throw new Error(`${JSON.stringify(text)} is none of ${logLevels.join(', ')}`)
}
