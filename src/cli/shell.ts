// What a command is given of the process it runs in: the words that it was called with are parsed already.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { parseConfig, defaultConfig, type Config } from '../config.ts'
import { ProxyError } from '../errors.ts'
import { createLog, type Log, type LogFormat, type LogLevel } from '../log.ts'
import type { Environment } from '../notify.ts'

export interface Shell {
  readonly env: Environment
  readonly pid: number
  readonly hostname: string
  /** The user's home directory. */
  readonly home: string
  /** Results, to standard output. */
  readonly out: (text: string) => void
  /** Complaints, progress and the log, to standard error. */
  readonly err: (text: string) => void
  /** Columns of the terminal behind standard error; undefined when it is none. */
  readonly columns: number | undefined
  /** Aborted when the user or the system wants us to stop. */
  readonly stop: AbortSignal
}

/** 0 done, 1 failed, 2 wrong use. */
export type ExitCode = 0 | 1 | 2

/** The configuration of a file, or the defaults without one. Throws a ProxyError `bad-config`. */
export async function loadConfig(file: string | undefined): Promise<Config> {
  if (file === undefined) return defaultConfig()
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    const reasons: Readonly<Record<string, string>> = {
      ENOENT: 'there is no such file',
      EACCES: 'this user may not read it',
      EISDIR: 'it is a directory',
    }
    throw new ProxyError('bad-config', `${file}: ${reasons[code] ?? code}`, { cause: error })
  }
  return parseConfig(text, file)
}

/**
 * Where the store is unless the configuration says: `$STATE_DIRECTORY` (systemd; the first of several), else
 * `$XDG_CACHE_HOME/substrata`, else `~/.cache/substrata`. By the XDG base directory specification a relative path there is ignored.
 */
export function stateDirectory({ env, home }: Pick<Shell, 'env' | 'home'>): string {
  const [given] = (env['STATE_DIRECTORY'] ?? '').split(':')
  if (given !== undefined && given !== '') return given
  const cache = env['XDG_CACHE_HOME']
  return join(cache?.startsWith('/') === true ? cache : join(home, '.cache'), 'substrata')
}

/** The log of a command, on standard error. */
export function logOf({ err }: Pick<Shell, 'err'>, { level, format }: { level: LogLevel; format: LogFormat }): Log {
  return createLog({ level, format, write: err })
}
