// A worker thread that moves the catalogue's write-ahead log into its file: that waits for the disk, and nobody should wait with it.

import { parentPort, workerData } from 'node:worker_threads'

import { Sqlite } from './sqlite.js'

/** @type {{ readonly path: string }} */
const { path } = workerData

parentPort?.on('message', () => {
  try {
    // Anew each time: the file may have been set aside, and must not be made here.
    const database = new Sqlite(path, { fileMustExist: true, timeout: 0 })
    try {
      // Passive: as far as it goes without making anybody wait.
      database.pragma('wal_checkpoint(PASSIVE)')
    } finally {
      database.close()
    }
    parentPort?.postMessage(undefined)
  } catch (error) {
    // Busy, gone, damaged: the next time, or the thread that writes notices it itself.
    if (!(error instanceof Sqlite.SqliteError) || !/^SQLITE_(IOERR|FULL)/.test(error.code)) return
    parentPort?.postMessage({ code: error.code, message: error.message })
  }
})
