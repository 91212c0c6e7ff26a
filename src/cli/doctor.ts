// `doctor`: compares a configuration with the world, and says what to do about what it finds.

import { withOverrides } from '../config.ts'
import { levels, type Finding } from '../doctor/finding.ts'
import { printable } from '../explanation-text.ts'
import type { Flags } from './arguments.ts'
import type { Program } from './program.ts'
import { loadConfig, logOf, stateDirectory, type ExitCode, type Shell } from './shell.ts'

/** 1 when there is a problem. Rejects with a ProxyError `bad-config`. */
export async function doctor(flags: Flags, shell: Shell, program: Program): Promise<ExitCode> {
  const config = withOverrides(await loadConfig(flags.config), flags)
  const here = {
    log: logOf(shell, { level: 'error', format: config.log.format }),
    version: program.version,
    stateDir: stateDirectory(shell),
  }
  const findings = await program.examine(config, here, shell.stop)
  for (const { level, about, says, do: action } of findings) {
    shell.out(`${level.padEnd(8)} ${printable(`${about}: ${says}`)}\n`)
    if (action !== undefined) shell.out(`         → ${printable(action)}.\n`)
  }
  shell.out(`\n${summary(findings)}\n`)
  return findings.some(({ level }) => level === 'problem') ? 1 : 0
}

/** `1 problem, 2 warnings, 8 ok`. */
function summary(findings: readonly Finding[]): string {
  const counts = levels.map((level) => {
    const count = findings.filter((finding) => finding.level === level).length
    return count === 0 ? '' : `${count} ${level}${count === 1 || level === 'ok' ? '' : 's'}`
  })
  return counts.filter((text) => text !== '').join(', ')
}
