// What tests need of the machine: where it is missing their name says so and they are skipped; with CI=true they fail.

import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

import { describe, expect, test } from 'vitest'

/** Programs that tests run, and the Debian package that has each. */
const packages = {
  nix: 'nix-bin',
  'nix-build': 'nix-bin',
  'nix-store': 'nix-bin',
  mmdebstrap: 'mmdebstrap',
  unshare: 'util-linux',
  python3: 'python3',
  'systemd-notify': 'systemd',
  gcc: 'gcc',
  prlimit: 'util-linux',
  xz: 'xz-utils',
} as const

export type Program = keyof typeof packages

/**
 * A `describe` for what cannot be shown on every machine: `describeUnless(needs('xz'), 'xz NARs', () => { test(…) })`. The lack
 * is undefined when nothing is missing, else what is, in a few words.
 */
export function describeUnless(lack: string | undefined, name: string, promises: () => void): void {
  const skipped = lack !== undefined && process.env['CI'] !== 'true'
  describe.skipIf(skipped)(`${name}${skipped ? ` (skipped: ${lack})` : ''}`, () => {
    if (lack === undefined || skipped) promises()
    else failFor(lack)
  })
}

function failFor(lack: string): void {
  test('what it needs is there', () => expect(lack, 'with CI=true that is a failure').toBeUndefined())
}

/** What is missing of these programs, with the packages that have them; undefined when all are on PATH. */
export function needs(...programs: readonly Program[]): string | undefined {
  const missing = programs.filter((program) => !isOnPath(program))
  if (missing.length === 0) return undefined
  return missing.map((program) => `no ${program} (Debian package ${packages[program]})`).join(', ')
}

function isOnPath(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((dir) => {
    try {
      accessSync(join(dir, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
