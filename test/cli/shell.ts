// A shell whose output can be read, in a directory of its own; and a program whose parts are doubles.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type { Program } from '../../src/cli/program.ts'
import { run } from '../../src/cli/run.ts'
import type { ExitCode, Shell } from '../../src/cli/shell.ts'

export interface TestShell extends AsyncDisposable {
  /** Also the home directory. */
  readonly directory: string
  readonly shell: Shell
  readonly stopping: AbortController
  readonly out: () => string
  readonly err: () => string
  /** Resolves with the text when something with it has been written to standard error. */
  readonly heard: (text: string) => Promise<string>
  /** Writes a file into the directory and returns its path. */
  readonly write: (name: string, text: string) => Promise<string>
  readonly run: (words: readonly string[], program?: Partial<Program>) => Promise<ExitCode>
}

export async function testShell(more: Partial<Shell> = {}): Promise<TestShell> {
  const directory = await mkdtemp(join(tmpdir(), 'substrata-cli-'))
  const stopping = new AbortController()
  let [out, err] = ['', '']
  const waiting = new Set<() => void>()
  const shell: Shell = {
    env: {},
    pid: 42,
    hostname: 'here',
    home: directory,
    out: (text) => {
      out += text
    },
    err: (text) => {
      err += text
      for (const look of waiting) look()
    },
    columns: undefined,
    stop: stopping.signal,
    ...more,
  }
  return {
    directory,
    shell,
    stopping,
    out: () => out,
    err: () => err,
    heard: (text) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (!err.includes(text)) return
          waiting.delete(look)
          resolve(err)
        }
        waiting.add(look)
        look()
      }),
    write: async (name, text) => {
      await writeFile(join(directory, name), text, { mode: 0o600 })
      return join(directory, name)
    },
    run: (words, program = {}) =>
      run(words, shell, {
        version: '1.2.3',
        compose: unexpected,
        openStore: unexpected,
        explain: unexpected,
        examine: unexpected,
        ...program,
      }),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  }
}

/** Parts that a test does not expect to be started. */
function unexpected(): Promise<never> {
  return Promise.reject(new Error('this part was not to be started'))
}
