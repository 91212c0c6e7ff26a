// From a command line to an exit code: runs the command, and says in a sentence what went wrong.

import { messageOf, ProxyError } from '../errors.ts'
import { parseArguments, WrongUse, type CommandName, type Flags } from './arguments.ts'
import { checkConfig } from './check-config.ts'
import { doctor } from './doctor.ts'
import { explain } from './explain.ts'
import { helpText } from './help.ts'
import { list } from './list.ts'
import { pin, unpin } from './pin.ts'
import type { Program } from './program.ts'
import { rebuild } from './rebuild.ts'
import { serve } from './serve.ts'
import type { ExitCode, Shell } from './shell.ts'
import { verify } from './verify.ts'

type Command = (flags: Flags, shell: Shell, program: Program, operands: readonly string[]) => Promise<ExitCode>

const commands: Readonly<Record<CommandName, Command>> = {
  serve,
  'check-config': checkConfig,
  explain,
  doctor,
  verify,
  pin,
  unpin,
  list,
  rebuild,
}

/** Runs the command that `words` (what stands after the program's name) ask for. Never rejects. */
export async function run(words: readonly string[], shell: Shell, program: Program): Promise<ExitCode> {
  try {
    const { command, help, version, flags, operands } = parseArguments(words)
    if (help !== undefined) shell.out(helpText(help === 'all' ? undefined : command))
    else if (version) shell.out(`substrata ${program.version}\n`)
    else return await commands[command](flags, shell, program, operands)
    return 0
  } catch (error) {
    if (error instanceof WrongUse) {
      const help = error.command === undefined ? '--help' : `${error.command} --help`
      shell.err(`substrata: ${error.message}${/[.?]$/.test(error.message) ? '' : '.'}\nTry "substrata ${help}".\n`)
      return 2
    }
    for (const line of complaintOf(error).split('\n')) shell.err(`substrata: ${line}\n`)
    return 1
  }
}

/** What was expected to happen one day is a sentence; anything else is a bug, and whoever reports it needs the stack. */
function complaintOf(error: unknown): string {
  const expected = error instanceof ProxyError || (error instanceof Error && 'code' in error)
  return !expected && error instanceof Error && error.stack !== undefined ? error.stack : messageOf(error)
}
