#!/usr/bin/env node
// argv → command → exit code; the only file that touches `process`.

import { homedir, hostname } from 'node:os'

import { run } from './cli/run.ts'
import { stopOnSignal, stopSignals } from './cli/stop.ts'
import { ownVersion } from './cli/version.ts'
import { examineAll } from './compose-doctor.ts'
import { explainAlone } from './compose-explain.ts'
import { compose, openStore } from './compose.ts'

const { hear, stop } = stopOnSignal({ atOnce: () => process.exit(1) })
for (const signal of stopSignals) process.on(signal, hear)
// `substrata list | head`: whoever read us has seen enough.
process.stdout.on('error', () => process.exit(1))
// A server goes on when nobody reads its log any more.
process.stderr.on('error', () => {})

const shell = {
  env: process.env,
  pid: process.pid,
  hostname: hostname(),
  home: homedir(),
  out: (text: string) => void process.stdout.write(text),
  err: (text: string) => void process.stderr.write(text),
  columns: process.stderr.isTTY ? process.stderr.columns : undefined,
  stop,
}
// Everything has been stopped and closed by now; a socket that somebody else keeps open does not hold us up.
const program = { version: ownVersion(), compose, openStore, explain: explainAlone, examine: examineAll }
process.exit(await run(process.argv.slice(2), shell, program))
