// The targets of `npm run fuzz` with a few inputs each, the same ones every time, and everything that it ever found.

import { expect, test } from 'vitest'

import { run } from './run.ts'
import { targets } from './targets.ts'

/** Those that ask a proxy take a thousand times as long for an input. */
const few: Readonly<Record<string, number>> = { 'request-target': 300, upload: 60, 'upstream-http': 60, toml: 800 }

test.each(targets.map((target) => [target.name, target] as const))(
  'whatever strangers write holds for %s',
  { timeout: 120_000 },
  async (name, target) => {
    const { failure, inputs } = await run(target, { seed: 1, inputs: few[name] ?? 2000 })
    if (failure) throw new Error(`for ${JSON.stringify(failure.input.toString('latin1'))}`, { cause: failure.error })
    expect(inputs).toBeGreaterThan(50)
  },
)
