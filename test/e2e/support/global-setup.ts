// Once before all end-to-end tests: builds the fixture and finds the Nix clients.

import { execFile } from 'node:child_process'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

import type { TestProject } from 'vitest/node'

import { needs } from '../../support/needs.ts'
import type { NixProgram } from './client.ts'
import { buildFixture, type Fixture } from './fixture.ts'
import { makeTempDir, removeTempDir } from './temp-dir.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Undefined when there is no Nix at all: then every client has a `lack`. */
    fixture: Fixture | undefined
    /** The system's own first. */
    clients: readonly NixProgram[]
  }
}

const run = promisify(execFile)

/** Debian suites whose Nix is newer than that of Debian 12: 2.26 and, when this was written, 2.34. */
const suites = (process.env['SUBSTRATA_E2E_SUITES'] ?? 'trixie sid').split(' ').filter((suite) => suite !== '')

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dir = await makeTempDir()
  const cleanUp = (): Promise<void> => removeTempDir(dir)
  try {
    const [own, ...newer] = await Promise.all([systemNix(), ...suites.map(newerNix)])
    project.provide('clients', [own, ...newer])
    project.provide('fixture', own.lack === undefined ? await buildFixture(join(dir, 'fixture'), own) : undefined)
    return cleanUp
  } catch (error) {
    await cleanUp()
    throw error
  }
}

async function systemNix(): Promise<NixProgram> {
  const lack = needs('nix', 'nix-store', 'nix-build')
  if (lack !== undefined) return { name: 'the system’s Nix', bin: undefined, lack }
  return { name: named((await run('nix', ['--version'])).stdout), bin: undefined, lack }
}

/** The Nix of another Debian suite; its root is made once and kept in the user's cache directory. */
async function newerNix(suite: string): Promise<NixProgram> {
  const name = `Nix of Debian ${suite}`
  const lack = needs('nix-store', 'mmdebstrap', 'unshare') ?? (process.getuid?.() === 0 ? undefined : 'not root')
  if (lack !== undefined) return { name, bin: undefined, lack }
  const dir = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'substrata-e2e', suite)
  try {
    const { stdout } = await run(join(import.meta.dirname, 'newer-nix.sh'), [suite, dir, tmpdir()], {
      timeout: 240_000,
    })
    return { name: named(stdout), bin: join(dir, 'bin'), lack: undefined }
  } catch (error) {
    const said = error instanceof Error ? error.message.trim().split('\n').slice(1) : []
    const why = said.findLast((line) => line.startsWith('E: ')) ?? said.at(-1) ?? String(error)
    return { name, bin: undefined, lack: `no root of Debian ${suite}: ${why}` }
  }
}

/** `nix (Nix) 2.34.8` → `Nix 2.34.8` */
function named(version: string): string {
  return version.trim().replace(/^nix \(Nix\) /, 'Nix ')
}
