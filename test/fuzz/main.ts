// `npm run fuzz -- [--target NAME] [--seconds N] [--seed N]`: runs the targets for as long as one likes.

import { parseArgs } from 'node:util'

import { messageOf } from '../../src/errors.ts'
import { keep, run } from './run.ts'
import { targets } from './targets.ts'

/** Seconds for all targets together. */
const usual = 60

/** Exit code: 0 when everything held, 1 when something was found, 2 for wrong use. */
export async function main(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: { target: { type: 'string' }, seconds: { type: 'string' }, seed: { type: 'string' } },
  })
  const chosen = targets.filter(({ name }) => values.target === undefined || values.target === name)
  const seconds = Number(values.seconds ?? usual)
  const seed = Number(values.seed ?? Date.now() % 1e9)
  if (chosen.length === 0 || !(seconds > 0) || !Number.isSafeInteger(seed)) {
    say(`usage: npm run fuzz -- [--target ${targets.map(({ name }) => name).join('|')}] [--seconds N] [--seed N]`)
    return 2
  }
  say(`seed ${seed}, ${seconds} s`)
  let [all, found] = [0, 0]
  for (const target of chosen) {
    const { inputs, outcomes, failure } = await run(target, { seed, time: (seconds * 1000) / chosen.length })
    all += inputs
    say(`${target.name.padEnd(16)}${String(inputs).padStart(9)} inputs  ${String(outcomes).padStart(4)} outcomes`)
    if (!failure) continue
    found += 1
    say(`  FAILED: ${messageOf(failure.error)}`)
    if (failure.error instanceof Error) say(failure.error.stack ?? '')
    say(`  input: ${JSON.stringify(failure.input.toString('latin1').slice(0, 2000))}`)
    say(`  kept as ${await keep(target.name, failure.input)}`)
  }
  say(`${all} inputs, ${found} failures`)
  return found > 0 ? 1 : 0
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
