// `verify`: proves everything in the store, with a progress bar on a terminal.

import type { Flags } from './arguments.ts'
import type { Program, Scrubbed } from './program.ts'
import { Progress } from './progress.ts'
import type { ExitCode, Shell } from './shell.ts'
import { withStore } from './with-store.ts'

/** 1 when something was damaged or could not be read, or when it was stopped before the end. */
export function verify(flags: Flags, shell: Shell, program: Program): Promise<ExitCode> {
  return withStore(flags, shell, program, async (store) => {
    const bar = new Progress({ write: shell.err, columns: shell.columns })
    let total: number | undefined
    let checked = 0
    const progress = (scrubbed: Scrubbed): void => {
      // Asked once files and catalogue agree, which they do when the first NAR has been checked.
      total ??= store.stats().nars
      checked = countOf(scrubbed)
      const damaged = scrubbed.damaged.length === 0 ? '' : `, ${scrubbed.damaged.length} damaged`
      bar.show(checked / total, `${checked} of ${total}${damaged}`)
    }
    try {
      return report(await store.scrub({ signal: shell.stop, progress }), bar, shell)
    } catch (error) {
      bar.clear()
      if (!shell.stop.aborted) throw error
      shell.err(`substrata: stopped after ${checked} of ${total ?? store.stats().nars}\n`)
      return 1
    }
  })
}

function countOf({ right, damaged, unread }: Scrubbed): number {
  return right + damaged.length + unread.length
}

function report(scrubbed: Scrubbed, bar: Progress, { out }: Shell): ExitCode {
  bar.clear()
  const { right, damaged, unread, adopted, released, removed, quarantined } = scrubbed
  for (const path of damaged) out(`damaged     ${path}\n`)
  for (const { path, why } of unread) out(`unreadable  ${path}: ${why}\n`)
  out(`${countOf(scrubbed)} checked: ${right} right, ${damaged.length} damaged, ${unread.length} unreadable\n`)
  if (adopted + released + removed + quarantined > 0) {
    out(
      `repaired: ${adopted} found again, ${released} gone, ${removed} useless removed, ${quarantined} of wrong size set aside\n`,
    )
  }
  if (damaged.length > 0)
    out('Damaged files are in the quarantine directory of the store; they are fetched again when asked for.\n')
  return damaged.length + unread.length + quarantined > 0 ? 1 : 0
}
