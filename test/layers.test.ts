// The layer rules bite: for each one, an import that breaks it is refused by the linter, and one that does not is let through.

import { execFile } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const repository = join(import.meta.dirname, '..')

/** Where a file stands, and what it must not, or may, import from there. */
interface Rule {
  readonly folder: string
  readonly refused: readonly string[]
  readonly allowed: readonly string[]
}

const rules: readonly Rule[] = [
  {
    folder: 'src/nix',
    refused: [
      '../substituter.ts',
      '../store/disk-store.ts',
      '../upstreams/upstream.ts',
      '../server/app.ts',
      '../config.ts',
      '../log.ts',
      'node:fs',
      'node:fs/promises',
      'node:http',
      'node:net',
      'node:child_process',
      'node:worker_threads',
      'node:timers/promises',
      'node:stream',
      'undici',
      'hono',
      '@hono/node-server',
      'better-sqlite3',
      'zstd-napi',
    ],
    allowed: ['./base32.ts', '../errors.ts', 'node:crypto'],
  },
  {
    folder: 'src/store',
    refused: [
      '../upstreams/upstream.ts',
      '../server/app.ts',
      '../mesh/neighbours.ts',
      '../tunnel/tunnels.ts',
      '../cli/serve.ts',
      '../compose.ts',
      '../config.ts',
      '../main.ts',
    ],
    allowed: ['./layout.ts', '../substituter.ts', '../errors.ts', '../log.ts', '../nix/hash.ts', 'node:fs/promises'],
  },
  {
    folder: 'src/upstreams',
    refused: [
      '../store/disk-store.ts',
      '../server/app.ts',
      '../mesh/neighbours.ts',
      '../tunnel/tunnels.ts',
      '../cli/serve.ts',
      '../compose.ts',
      '../config.ts',
      '../main.ts',
    ],
    allowed: ['./race.ts', '../substituter.ts', '../errors.ts', '../log.ts', '../nix/hash.ts', 'undici'],
  },
  {
    folder: 'src/doctor',
    refused: [
      '../store/disk-store.ts',
      '../server/app.ts',
      '../mesh/neighbours.ts',
      '../tunnel/tunnels.ts',
      '../cli/serve.ts',
      '../compose.ts',
      '../compose-doctor.ts',
      '../main.ts',
    ],
    allowed: ['./finding.ts', '../upstreams/visit.ts', '../errors.ts', '../nix/hash.ts', 'node:fs/promises'],
  },
  {
    folder: 'src/server',
    refused: [
      '../store/disk-store.ts',
      '../upstreams/upstream.ts',
      '../mesh/neighbours.ts',
      '../tunnel/tunnels.ts',
      '../cli/serve.ts',
      '../compose.ts',
      '../config.ts',
      '../main.ts',
    ],
    allowed: ['./status.ts', '../substituter.ts', '../errors.ts', '../metrics.ts', '../nix/hash.ts', 'hono'],
  },
  {
    folder: 'src/cli',
    refused: [
      '../store/disk-store.ts',
      '../upstreams/upstream.ts',
      '../server/app.ts',
      '../mesh/neighbours.ts',
      '../tunnel/tunnels.ts',
      '../main.ts',
    ],
    allowed: ['./help.ts', '../compose.ts', '../config.ts', '../errors.ts', '../nix/hash.ts'],
  },
]

/** A leaf may not know what stands on it. */
const leaves = [
  'substituter',
  'trail',
  'identity',
  'metrics',
  'log',
  'errors',
  'config',
  'explanation',
  'explanation-text',
]
const aboveLeaves = [
  './store/disk-store.ts',
  './upstreams/upstream.ts',
  './server/app.ts',
  './mesh/neighbours.ts',
  './tunnel/tunnels.ts',
  './cli/serve.ts',
  './compose.ts',
  './main.ts',
]

let dir: string
let complaints: ReadonlyMap<string, readonly string[]>

/** Files of this copy, by what is in them; numbered, since one file has one import. */
const planted = new Map<string, string>()

function plant(folder: string, from: string): string {
  const file = `${folder}/planted-${planted.size}.ts`
  planted.set(file, `import ${JSON.stringify(from)}\n`)
  return file
}

const imports = rules.flatMap(({ folder, refused, allowed }) => [
  ...refused.map((from) => ({ file: plant(folder, from), folder, from, verdict: 'refused' as const })),
  ...allowed.map((from) => ({ file: plant(folder, from), folder, from, verdict: 'allowed' as const })),
])
for (const leaf of leaves) {
  planted.set(`src/${leaf}.ts`, aboveLeaves.map((from) => `import ${JSON.stringify(from)}\n`).join(''))
}
planted.set('src/circle/one.ts', "import { two } from './two.ts'\nexport const one = (): unknown => two\n")
planted.set('src/circle/two.ts', "import { one } from './one.ts'\nexport const two = (): unknown => one\n")
planted.set('src/store/environment.ts', "export const home = process.env['HOME']\n")

/** One run over a copy in which everything wrong is done once. */
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'substrata-layers-'))
  await copyFile(join(repository, '.oxlintrc.json'), join(dir, '.oxlintrc.json'))
  for (const [file, text] of planted) {
    await mkdir(dirname(join(dir, file)), { recursive: true })
    await writeFile(join(dir, file), text)
  }
  complaints = await lint()
}, 60_000)

afterAll(() => rm(dir, { recursive: true, force: true }))

/** Codes of the linter's complaints for each file. */
async function lint(): Promise<ReadonlyMap<string, readonly string[]>> {
  const program = join(repository, 'node_modules', 'oxlint', 'bin', 'oxlint')
  const output = await new Promise<string>((resolve) => {
    const args = [program, '--config', '.oxlintrc.json', '--format', 'json', 'src']
    execFile(process.execPath, args, { cwd: dir, maxBuffer: 1 << 26 }, (_, stdout) => resolve(stdout))
  })
  const { diagnostics } = JSON.parse(output) as { diagnostics: readonly { code: string; filename: string }[] }
  const found = new Map<string, string[]>()
  for (const { code, filename } of diagnostics) found.set(filename, [...(found.get(filename) ?? []), code])
  return found
}

const layerRule = 'eslint(no-restricted-imports)'
const layerComplaints = (file: string): number =>
  (complaints.get(file) ?? []).filter((code) => code === layerRule).length

describe('import direction', () => {
  for (const { file, folder, from, verdict } of imports) {
    test(`${folder}: ${from} is ${verdict}`, () => expect(layerComplaints(file)).toBe(verdict === 'refused' ? 1 : 0))
  }
  for (const leaf of leaves) {
    test(`src/${leaf}.ts: nothing above a leaf is let in`, () =>
      expect(layerComplaints(`src/${leaf}.ts`)).toBe(aboveLeaves.length))
  }

  test('a circle of imports is refused', () => {
    expect(complaints.get('src/circle/one.ts')).toContain('import(no-cycle)')
  })

  test('process is refused outside main.ts', () => {
    expect(complaints.get('src/store/environment.ts')).toContain('eslint(no-restricted-globals)')
  })

  test('every layer rule of the linter’s configuration is proved here', async () => {
    const config = JSON.parse(await readFile(join(repository, '.oxlintrc.json'), 'utf8')) as {
      overrides: readonly { files: readonly string[]; rules: Readonly<Record<string, unknown>> }[]
    }
    const ruled = config.overrides.filter(({ rules }) => 'no-restricted-imports' in rules).flatMap(({ files }) => files)
    const proved = [...rules.map(({ folder }) => `${folder}/**`), ...leaves.map((leaf) => `src/${leaf}.ts`)]
    expect(ruled.toSorted()).toEqual(proved.toSorted())
  })
})
