// One process owns a store; a second one is told who that is.
//
// The lock is SQLite's own on a database with nothing in it: `BEGIN EXCLUSIVE` takes locks of the kernel (fcntl) on the file. They end
// with the process, however it ends, so nothing stale is left after kill -9; they are not inherited by child processes; and they hold
// between containers that share the directory. The file `owner` beside it is only for the sentence. It is read by others, while
// lock.sqlite must never be opened by this process in any other way: closing any descriptor of it would give the lock up.

import { accessSync, constants, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'

import type Database from 'better-sqlite3'

import { messageOf, ProxyError } from '../errors.ts'
import type { Layout } from './layout.ts'
import { Sqlite } from './sqlite.js'
import { systemCode } from './store-health.ts'

export interface StoreLock {
  release(): void
}

/**
 * Takes the store for this process. Throws ProxyError('store-failed') naming path and process when another has it, or when there
 * can be no lock here. Undefined on a file system that is read-only: then nobody can write, and no lock is needed.
 */
export function takeLock(layout: Layout): StoreLock | undefined {
  let database: Database.Database | undefined
  try {
    database = new Sqlite(layout.lock, { timeout: 0 })
    // So that not even a journal is written: a full disk can be locked too.
    database.pragma('journal_mode = MEMORY')
    database.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    database?.close()
    const code = error instanceof Sqlite.SqliteError ? error.code : ''
    if (code.startsWith('SQLITE_BUSY')) {
      throw new ProxyError(
        'store-failed',
        `store: ${layout.top} is in use by ${holder(layout)}; one process owns a store`,
      )
    }
    if (code.startsWith('SQLITE_READONLY') || (code === 'SQLITE_CANTOPEN' && isReadOnly(layout))) return undefined
    throw new ProxyError('store-failed', `store: ${layout.lock} cannot be locked: ${messageOf(error)}`, {
      cause: error,
    })
  }
  const held = database
  nameOwner(layout)
  return {
    release: () => {
      // While the lock is still ours: afterwards the file may be another's.
      rmSync(layout.owner, { force: true })
      held.close()
    },
  }
}

/** Who has it, as far as it said so. */
function holder(layout: Layout): string {
  try {
    return readFileSync(layout.owner, 'utf8').trim() || 'another process'
  } catch {
    return 'another process'
  }
}

function nameOwner(layout: Layout): void {
  try {
    writeFileSync(layout.owner, `process ${ownPid()} on ${hostname()}\n`)
  } catch {
    // A full disk: the lock holds all the same.
  }
}

/** Our number, as others in this container see it. */
function ownPid(): string {
  try {
    return readlinkSync('/proc/self')
  } catch {
    return '(number unknown)'
  }
}

function isReadOnly(layout: Layout): boolean {
  try {
    accessSync(layout.top, constants.W_OK)
    return false
  } catch (error) {
    return systemCode(error) === 'EROFS'
  }
}
