// The operator's log: one line an event, readable on a terminal or JSON. A part that is given none is silent.

import { messageOf } from './errors.ts'

/** From the most to the least urgent. */
export const logLevels = ['error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof logLevels)[number]
export type LogFormat = 'text' | 'json'

/** Values that belong to a line. Undefined ones are left out. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>

export interface Log {
  error(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  debug(message: string, fields?: LogFields): void
  /** True when a line of this level would be written: ask before making an expensive one. */
  enabled(level: LogLevel): boolean
}

export interface LogOptions {
  readonly level: LogLevel
  readonly format: LogFormat
  /** Takes one whole line, with its newline. */
  readonly write: (line: string) => void
  /** Milliseconds since 1970, for the time stamp. */
  readonly now?: () => number
}

export function createLog({ level, format, write, now = Date.now }: LogOptions): Log {
  const most = logLevels.indexOf(level)
  const line = (of: LogLevel, message: string, fields: LogFields): string =>
    format === 'json'
      ? `${JSON.stringify({ time: new Date(now()).toISOString(), level: of, message, ...fields })}\n`
      : `${new Date(now()).toISOString()} ${of.padEnd(5)} ${oneLine(message)}${pairs(fields)}\n`
  const at =
    (of: LogLevel) =>
    (message: string, fields: LogFields = {}): void => {
      if (logLevels.indexOf(of) <= most) write(line(of, message, fields))
    }
  return {
    error: at('error'),
    warn: at('warn'),
    info: at('info'),
    debug: at('debug'),
    enabled: (of) => logLevels.indexOf(of) <= most,
  }
}

/** For parts that were given no log. */
export const silentLog: Log = createLog({ level: 'error', format: 'text', write: () => {} })

/** A log that says each thing once per culprit until `forget`: a dead upstream is one line, not ten thousand. */
export class OncePer {
  readonly #said = new Set<string>()

  /** True the first time this culprit is named. */
  first(culprit: string): boolean {
    if (this.#said.has(culprit)) return false
    this.#said.add(culprit)
    return true
  }

  /** It is well again: true if it had been named, and the next trouble is news. */
  forget(culprit: string): boolean {
    return this.#said.delete(culprit)
  }
}

/** The sentence of a failure with those of its causes: `a: b: c`. */
export function chain(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined
  return cause === undefined ? messageOf(error) : `${messageOf(error)}: ${chain(cause)}`
}

function pairs(fields: LogFields): string {
  let text = ''
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue
    const shown = oneLine(String(value))
    text += ` ${key}=${/^[^\s"=]+$/.test(shown) ? shown : JSON.stringify(shown)}`
  }
  return text
}

/** Upstreams choose parts of our sentences: no control character of theirs reaches the terminal. */
function oneLine(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ')
}
