// Measure 10: a real closure, made by Nix and copied by Nix.

import { existsSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

import { substrata } from '../contestants.ts'
import { freePort } from '../free-port.ts'
import { atMost, type Bench, type Measure } from '../measure.ts'
import { startNginx } from '../nginx.ts'
import { Process } from '../process.ts'
import { medians } from '../rounds.ts'
import { run } from '../run.ts'
import { withRunning } from './all-in-front.ts'

const paths = (bench: Bench): number => (bench.short ? 20 : 500)
/** Each way: 20 ms there and back. */
const wayMs = 10

/** Paths of 1 to 200 kB, each with up to three of those before it as references, and one that needs them all. */
const tree = (count: number): string => `
let
  path = n: derivation {
    name = "path-\${toString n}";
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" "/bin/mkdir $out; /usr/bin/head -c \${toString (1000 + builtins.mul (builtins.mul n n) 7 / 8)} /dev/urandom > $out/noise; echo $deps > $out/deps" ];
    deps = map (back: all n back) (builtins.filter (back: n - back >= 0) [ 1 7 31 ]);
  };
  paths = builtins.genList path ${count};
  all = n: back: builtins.elemAt paths (n - back);
in derivation {
  name = "top";
  system = builtins.currentSystem;
  builder = "/bin/sh";
  args = [ "-c" "echo $deps > $out" ];
  deps = paths;
}
`

interface Closure {
  readonly top: string
  readonly key: string
  /** A binary cache as a directory. */
  readonly directory: string
}

export const closure: Measure = {
  number: 10,
  name: 'closure',
  run: async (bench) => {
    const directory = await bench.scratch('closure')
    const { top, key, directory: cache } = await made(bench)
    const [port, far] = [await freePort(), await freePort()]
    const nginx = await startNginx({ directory: join(directory, 'nginx'), ports: [port], server: `root ${cache};` })
    const line = await Process.start({
      command: [
        process.execPath,
        join(import.meta.dirname, '..', 'delay-line.js'),
        String(far),
        String(port),
        String(wayMs),
      ],
      log: join(directory, 'line'),
      port: far,
    })
    const still = new URL(`http://127.0.0.1:${port}/`)
    const distant = new URL(`http://127.0.0.1:${far}/`)
    const trusting = {
      ...bench,
      cache: Object.assign(Object.create(bench.cache), { publicKey: key }) as Bench['cache'],
    }
    let turn = 0
    const copy = async (from: URL): Promise<number> => {
      const mine = join(directory, `client-${turn++}`)
      const nix = await client(mine)
      const began = performance.now()
      await nix(
        'nix',
        'copy',
        '--from',
        from.href,
        '--to',
        join(mine, 'store'),
        '--option',
        'trusted-public-keys',
        key,
        top,
      )
      const took = (performance.now() - began) / 1000
      await gone(mine)
      return took
    }
    const through = async (upstream: URL, times: number, server = ''): Promise<number> => {
      const mine = join(directory, `proxy-${turn++}`)
      const took = await withRunning(
        trusting,
        mine,
        [substrata({ server })],
        async ({ Substrata }) => {
          const url = Substrata?.url ?? upstream
          let last = 0
          for (let n = 0; n < times; n++) {
            last = await copy(url)
            // Everything is committed before the next one: what is measured then is a hit.
            if (n + 1 < times) await idle(url)
          }
          return last
        },
        upstream,
      )
      await rm(mine, { recursive: true, force: true })
      return took
    }
    try {
      const warmUp = await copy(still)
      bench.say(`  straight from nginx: ${warmUp.toFixed(1)} s`)
      const values = await medians(bench.rounds, {
        'nginx static': () => copy(still),
        'Substrata, warm': () => through(still, 2),
        '20 ms away, direct': () => copy(distant),
        '20 ms away, through cold Substrata': () => through(distant, 1),
        'the same with look_ahead': () => through(distant, 1, 'look_ahead = true'),
      })
      const [fast = 0, warm = 0, direct = 0, cold = 0, ahead = 0] = Object.values(values)
      return [
        {
          what: `nix copy of a closure of ${paths(bench) + 1} paths`,
          unit: 's',
          values,
          promise: atMost('warm ÷ nginx static', warm / fast, 1.1),
        },
        {
          what: 'the same from an upstream that is 20 ms away',
          unit: 's',
          values: { direct, Substrata: cold, 'with look_ahead': ahead },
          promise: atMost('cold Substrata with look_ahead ÷ direct', ahead / direct, 1),
        },
      ]
    } finally {
      await line.stop()
      await nginx.stop()
    }
  },
}

/** Resolves when nothing is being fetched any more and the disk has all of it. */
async function idle(url: URL): Promise<void> {
  for (;;) {
    const metrics = await (await fetch(new URL('metrics', url))).text()
    if (/^substrata_fills_running 0$/m.test(metrics)) break
    await delay(20)
  }
  await run('sync', [])
}

/** Builds, signs and packs the closure, unless that was done already. */
async function made(bench: Bench): Promise<Closure> {
  const count = paths(bench)
  const directory = bench.kept(`closure-${count}`)
  const cache = join(directory, 'cache')
  const done = join(directory, 'done')
  if (!existsSync(done)) {
    bench.say(`  building ${count} paths with Nix`)
    await gone(directory)
    const nix = await client(directory)
    const store = ['--store', join(directory, 'store')]
    await writeFile(join(directory, 'tree.nix'), tree(count))
    const built = await nix(
      'nix-build',
      ...store,
      join(directory, 'tree.nix'),
      '--no-out-link',
      '--option',
      'sandbox',
      'true',
      '--option',
      'sandbox-paths',
      '/bin /lib /lib64 /usr',
    )
    const top = built.trim()
    const [secret, open] = [join(directory, 'secret'), join(directory, 'key')]
    await nix('nix-store', '--generate-binary-cache-key', 'closure-1', secret, open)
    await nix('nix', 'store', 'sign', '--recursive', ...store, '--key-file', secret, top)
    await nix('nix', 'copy', '--from', join(directory, 'store'), '--to', `file://${cache}?compression=zstd`, top)
    await writeFile(done, top)
  }
  const [top, key] = await Promise.all([readFile(done, 'utf8'), readFile(join(directory, 'key'), 'utf8')])
  return { top, key: key.trim(), directory: cache }
}

/** Nix on a machine that has never run it: it remembers answers for long. */
async function client(directory: string): Promise<(program: string, ...args: readonly string[]) => Promise<string>> {
  await mkdir(join(directory, 'etc'), { recursive: true })
  await mkdir(join(directory, 'home'), { recursive: true })
  await writeFile(
    join(directory, 'etc', 'nix.conf'),
    'experimental-features = nix-command\nsubstituters =\nbuild-users-group =\nsandbox = false\n',
  )
  const env = {
    PATH: process.env['PATH'],
    HOME: join(directory, 'home'),
    NIX_CONF_DIR: join(directory, 'etc'),
    NIX_USER_CONF_FILES: '/dev/null',
    NIX_REMOTE: join(directory, 'default'),
  }
  return (program, ...args) => run(program, args, env)
}

/** What Nix leaves behind may not be written to. */
async function gone(directory: string): Promise<void> {
  if (!existsSync(directory)) return
  await run('chmod', ['-R', 'u+w', directory])
  await rm(directory, { recursive: true, force: true })
}
