// Loaded into the program before its own code (`node --import`): what it does to its store can be counted, made to fail, or be the
// last thing it does. The orders lie in the file SUBSTRATA_FAULTS, read when the process starts and again at each SIGUSR2:
//
//   { "dieAt": 3 }                       kill -9 at the third change to files or rows from now on, before it is made
//   { "fail": "EIO", "only": "write" }   every such operation fails with this code, as the system's own errors look
//   { "journal": "/path" }               each change and each sync is written there, a line when it begins and one when it is done; files
//                                        that are removed or replaced stay as links in /path.removed/ under the number of the line
//   { "boot": "x" }                      the boot id that the kernel seems to give
//
// Plain JavaScript: the program runs it as it is.

import fs from 'node:fs'
import { createRequire, syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import process from 'node:process'

/** @typedef {{ dieAt?: number, fail?: string, only?: string, journal?: string, boot?: string }} Orders */

const file = process.env['SUBSTRATA_FAULTS'] ?? ''
const program = process.argv[1] ?? ''
/** @type {Orders} */
let orders = {}
let changes = 0
let lines = 0

function obey() {
  orders = JSON.parse(fs.readFileSync(file, 'utf8'))
  changes = 0
}

obey()
process.on('SIGUSR2', () => {
  obey()
  process.stderr.write('faults: obeyed\n')
})

/**
 * Called before each operation; the result is the number of its line in the journal.
 *
 * @param {string} name
 * @param {readonly unknown[]} subjects
 * @param {number} [ino] of the file
 */
function about(name, subjects, ino) {
  const words = subjects.filter((subject) => typeof subject === 'string')
  if (words.length > 0 && !words.some((word) => `${word}/`.includes('/v1/') || word.startsWith('row '))) return ''
  const line = begun(name, words, ino)
  if (orders.fail !== undefined && (orders.only === undefined || orders.only.split(' ').includes(name))) {
    const code = orders.fail
    throw Object.assign(new Error(`${code}: injected, ${name} '${words.join("' -> '")}'`), { code, syscall: name })
  }
  if (name !== 'read' && orders.dieAt !== undefined && ++changes === orders.dieAt) {
    fs.writeSync(2, `faults: dying before ${name} ${words.join(' ')}\n`)
    process.kill(process.pid, 'SIGKILL')
    // The signal is taken at the next return to user space; nothing else may be done first.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
  }
  return line
}

/**
 * @param {string} op
 * @param {readonly string[]} words
 * @param {number | undefined} ino
 */
function begun(op, words, ino) {
  if (orders.journal === undefined || op === 'read' || op === 'run') return ''
  // There may be another program before or after in the same journal.
  const line = `${process.pid}.${++lines}`
  const [path = '', to] = words
  const changed = to ?? path
  const existed = fs.existsSync(changed)
  fs.appendFileSync(orders.journal, `${JSON.stringify({ line, op, path, to, existed, ino })}\n`)
  if (existed && (op === 'rename' || op === 'rm' || op === 'unlink')) {
    try {
      fs.linkSync(changed, join(`${orders.journal}.removed`, line))
    } catch {
      // A directory, or it was removed before.
    }
  }
  return line
}

/**
 * @param {string} line
 * @param {object} [result]
 */
function done(line, result) {
  if (orders.journal === undefined || line === '') return
  fs.appendFileSync(orders.journal, `${JSON.stringify({ done: line, ...result })}\n`)
}

/** @type {Record<string, any>} */
const promises = fs.promises
for (const name of ['rename', 'rm', 'unlink', 'link', 'copyFile', 'writeFile', 'mkdir']) {
  const real = promises[name]
  /** @param {...unknown} words */
  promises[name] = async (...words) => {
    const line = about(name, name === 'writeFile' ? words.slice(0, 1) : words.slice(0, 2))
    const result = await real(...words)
    done(line, { made: result !== undefined })
    return result
  }
}
const readFile = promises['readFile']
/** @param {...unknown} words */
promises['readFile'] = async (...words) =>
  words[0] === '/proc/sys/kernel/random/boot_id' && orders.boot !== undefined ? orders.boot : readFile(...words)

const open = promises['open']
/** @type {WeakMap<object, { path: string, ino: number }>} */
const files = new WeakMap()
let patched = false
/**
 * @param {string} path
 * @param {string} [flags]
 * @param {...unknown} more
 */
promises['open'] = async (path, flags, ...more) => {
  const line = about(flags === undefined || flags === 'r' ? 'read' : 'open', [path])
  const handle = await open(path, flags, ...more)
  files.set(handle, { path, ino: fs.fstatSync(handle.fd).ino })
  done(line)
  if (!patched) patch(Object.getPrototypeOf(handle))
  return handle
}

/** @param {Record<string, any>} prototype of FileHandle */
function patch(prototype) {
  patched = true
  for (const name of ['write', 'writev', 'writeFile', 'datasync', 'sync', 'read']) {
    const real = prototype[name]
    /**
     * @this {object}
     * @param {...unknown} words
     */
    prototype[name] = async function (...words) {
      const { path = '', ino } = files.get(this) ?? {}
      const line = about(name.startsWith('write') ? 'write' : name, [path], ino)
      const result = await real.apply(this, words)
      done(line)
      return result
    }
  }
}

syncBuiltinESMExports()

const major = Number(process.versions.node.split('.')[0])
/** @type {typeof import('better-sqlite3')} */
const Sqlite = createRequire(join(program, '..', 'store', 'sqlite.js'))(
  major >= 22 ? 'better-sqlite3-13' : 'better-sqlite3',
)
const scratch = new Sqlite(':memory:')
const statement = Object.getPrototypeOf(scratch.prepare('SELECT 1'))
scratch.close()
const run = statement.run
/**
 * @this {{ source: string }}
 * @param {...unknown} values
 */
statement.run = function (...values) {
  about('run', [`row ${this.source.replaceAll(/\s+/g, ' ').slice(0, 40)}`])
  return run.apply(this, values)
}
