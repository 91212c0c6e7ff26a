// A real Nix client on a machine of its own: fresh HOME (Nix remembers every answer there for up to a month), settings and stores.

import { spawn } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { tempDir } from './temp-dir.ts'

/** Which Nix to run. Travels from the global setup to the tests, so it is plain data. */
export interface NixProgram {
  /** `Nix 2.8.0` */
  readonly name: string
  /** Directory of `nix` and `nix-store`; undefined: those on PATH. */
  readonly bin: string | undefined
  /** Why it cannot be run on this machine, as a sentence for the name of a skipped test. */
  readonly lack: string | undefined
}

export interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Where a path comes from, and whose signatures are believed. */
export interface Substitution {
  readonly from: string
  readonly key: string
}

/** Longer than any command here takes on a busy machine; a client that hangs is killed then. */
const patienceMs = 90_000

const nixConf = `experimental-features = nix-command
substituters =
build-users-group =
sandbox = false
`

export class Client {
  /** Of this client alone, shared with the root of a newer Nix: write files for it here. */
  readonly dir: string
  /** Its Nix store: a path under it is `<store>/nix/store/…`. */
  readonly store: string
  readonly #program: NixProgram

  private constructor(program: NixProgram, dir: string) {
    this.#program = program
    this.dir = dir
    this.store = join(dir, 'store')
  }

  /** A machine that has never run Nix, gone when the test has finished. */
  static async fresh(program: NixProgram): Promise<Client> {
    return Client.in(await tempDir(), program)
  }

  /** The same in a directory that somebody else removes. */
  static async in(dir: string, program: NixProgram): Promise<Client> {
    await mkdir(join(dir, 'etc'))
    await mkdir(join(dir, 'home'))
    await writeFile(join(dir, 'etc', 'nix.conf'), nixConf)
    return new Client(program, dir)
  }

  /**
   * Gets a path and its closure into the store, as `nix-build` of a machine with this substituter would. Resolves to what Nix said
   * meanwhile; throws when it failed.
   */
  async realise(path: string, from: Substitution, ...options: readonly string[]): Promise<string> {
    const { code, stderr } = await this.tryRealise(path, from, ...options)
    if (code === 0) return stderr
    throw new Error(`${this.#program.name} could not realise ${path} from ${from.from}: exit code ${code}\n${stderr}`)
  }

  /** The same where failing is a possible end. */
  tryRealise(path: string, { from, key }: Substitution, ...options: readonly string[]): Promise<Finished> {
    const trust = ['--option', 'substituters', from, '--option', 'trusted-public-keys', key]
    return this.run('nix-store', '--store', this.store, '-r', path, ...trust, ...options)
  }

  /** Every path in the store with its signatures: Nix hashes what is on disk again and checks the signatures. */
  async verified(key: string): Promise<ReadonlyMap<string, readonly string[]>> {
    const trust = ['--option', 'trusted-public-keys', key]
    await this.succeed('nix', 'store', 'verify', '--store', this.store, '--all', '--sigs-needed', '1', ...trust)
    return this.signatures('--store', this.store, '--all')
  }

  /** Paths and their signature lines, as `nix path-info --sigs` has them. */
  async signatures(...which: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
    const listed = await this.succeed('nix', 'path-info', '--sigs', ...which)
    const words = listed
      .trim()
      .split('\n')
      .map((line) => line.split(/\s+/))
    return new Map(
      words.map(([path = '', ...rest]) => [path, rest.filter((word) => /^[^:]+:[\w+/]{86}==$/.test(word))]),
    )
  }

  /** Its standard output; throws with the standard error when it fails. */
  async succeed(program: 'nix' | 'nix-store' | 'nix-build', ...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(program, ...args)
    if (code !== 0) throw new Error(`${this.#program.name}: ${program} ${args.join(' ')}: exit code ${code}\n${stderr}`)
    return stdout
  }

  run(program: 'nix' | 'nix-store' | 'nix-build', ...args: readonly string[]): Promise<Finished> {
    const { bin } = this.#program
    return finish(bin === undefined ? program : join(bin, program), args, {
      PATH: process.env['PATH'],
      TMPDIR: tmpdir(),
      HOME: join(this.dir, 'home'),
      NIX_CONF_DIR: join(this.dir, 'etc'),
      NIX_USER_CONF_FILES: '/dev/null',
      NIX_REMOTE: join(this.dir, 'default-store'),
    })
  }
}

/** Runs a program to its end, without input. Rejects only when it cannot be started. */
export function finish(program: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: patienceMs,
      killSignal: 'SIGKILL',
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.on('error', reject)
    child.on('close', (code, signal) =>
      resolve({ code, stdout, stderr: signal === null ? stderr : `${stderr}\nkilled by ${signal}` }),
    )
  })
}
