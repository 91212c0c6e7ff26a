// Temporary directories that hold Nix stores: store paths are read-only, so they are made writable before they are removed.

import { chmod, lstat, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { onTestFinished } from 'vitest'

/** A fresh directory, removed with all that is in it when the test has finished. */
export async function tempDir(): Promise<string> {
  const dir = await makeTempDir()
  onTestFinished(() => removeTempDir(dir))
  return dir
}

/** A fresh directory whose owner removes it. */
export function makeTempDir(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'substrata-e2e-'))
}

export async function removeTempDir(dir: string): Promise<void> {
  await makeWritable(dir)
  await rm(dir, { recursive: true, force: true })
}

async function makeWritable(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined)
  if (found?.isDirectory() !== true) return
  await chmod(path, 0o755)
  for (const name of await readdir(path)) await makeWritable(join(path, name))
}
