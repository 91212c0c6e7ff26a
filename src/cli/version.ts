// The version of this program, which package.json has and nobody else.

import { readFileSync } from 'node:fs'

import { z } from 'zod'

/** `0.1.0`. The file lies two directories above this one, in src/ as in dist/. */
export function ownVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return z.object({ version: z.string() }).parse(JSON.parse(text)).version
}
