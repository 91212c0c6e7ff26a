// The one door to SQLite. Node 20 needs better-sqlite3 12, which is compiled against Node's own classes; since Node 24.19 these abort
// the process when a statement made by it is collected ("Assertion failed: (env) != nullptr"). Version 13 stands on Node-API, runs on
// Node 22 and newer only, and does not have that. So both are installed, and each Node gets the one that is right for it.
//
// Plain JavaScript, because the checkpoint worker imports it too (see nar-check.worker.js).

import { createRequire } from 'node:module'
import { versions } from 'node:process'

const [major] = versions.node.split('.').map(Number)

/** @type {typeof import('better-sqlite3')} */
export const Sqlite = createRequire(import.meta.url)(Number(major) >= 22 ? 'better-sqlite3-13' : 'better-sqlite3')
