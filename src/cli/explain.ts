// `explain`: says who has a path and why it comes from where it comes, by the running proxy or, without one, by asking from here.

import { withOverrides, type Config } from '../config.ts'
import { explanationText, printable } from '../explanation-text.ts'
import type { StoreHash } from '../nix/store-path.ts'
import type { Flags } from './arguments.ts'
import { hashOf } from './operand.ts'
import type { Program } from './program.ts'
import { askRunning } from './running-proxy.ts'
import { loadConfig, logOf, stateDirectory, type ExitCode, type Shell } from './shell.ts'

/** Milliseconds that a proxy may take beyond its own deadline. */
const grace = 2000

/** 1 when one of the paths cannot be had. */
export async function explain(
  flags: Flags,
  shell: Shell,
  program: Program,
  operands: readonly string[],
): Promise<ExitCode> {
  const config = withOverrides(await loadConfig(flags.config), flags)
  const wanted = operands.map((text) => hashOf(text, config.server.storeDir, 'explain'))
  let code: ExitCode = 0
  for (const [index, [hash]] of wanted.entries()) {
    if (index > 0) shell.out('\n')
    const told = (await byRunning(config, hash, shell)) ?? (await fromHere(config, hash, shell, program))
    shell.out(told.text)
    if (!told.had) code = 1
  }
  return code
}

interface Told {
  readonly text: string
  readonly had: boolean
}

/** What the proxy says that runs by this configuration. Undefined: none does, or not to us. */
async function byRunning({ server }: Config, hash: StoreHash, shell: Shell): Promise<Told | undefined> {
  const answer = await askRunning(server.listen, `/explain/${hash}`, server.deadline + grace, shell.stop)
  if (!answer) {
    shell.err(`No proxy runs at ${server.listen.join(' or ')}: everybody is asked from here.\n`)
    return undefined
  }
  const { status, headers, text, address } = answer
  const verdict = headers['substrata-verdict']
  if (status === 200 && typeof verdict === 'string') {
    shell.err(`The proxy at ${address} says:\n`)
    // Whoever listens there: a terminal must not take it for commands.
    return { text: text.split('\n').map(printable).join('\n'), had: wasHad(verdict) }
  }
  shell.err(`What runs at ${address} does not explain itself (${status}): everybody is asked from here.\n`)
  return undefined
}

async function fromHere(config: Config, hash: StoreHash, shell: Shell, program: Program): Promise<Told> {
  const log = logOf(shell, { level: 'error', format: config.log.format })
  const stateDir = stateDirectory(shell)
  const here = { log, version: program.version, stateDir }
  const { explanation, owner } = await program.explain(config, here, hash, shell.stop)
  if (owner !== undefined) {
    shell.err(
      `The store in ${config.store.path ?? stateDir} is that of ${printable(owner)}; its files were only read.\n`,
    )
  }
  return { text: explanationText(explanation), had: wasHad(explanation.verdict.kind) }
}

function wasHad(verdict: string): boolean {
  return verdict !== 'missed' && verdict !== 'unreachable'
}
