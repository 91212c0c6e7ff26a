// What the tests fetch: a closure of 20 paths built by Nix itself, signed, in a binary cache for each compression.

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { Client, type NixProgram } from './client.ts'

export const compressions = ['xz', 'zstd', 'none', 'bzip2', 'gzip'] as const
export type FixtureCompression = (typeof compressions)[number]

/** Plain data: it travels from the global setup to the tests. */
export interface Fixture {
  /** The path whose closure are the 20. */
  readonly top: string
  /** All 20, in no order. */
  readonly paths: readonly string[]
  /** The one of 30 MiB that no compression makes smaller. */
  readonly big: string
  /** The ten without references. */
  readonly leaves: readonly string[]
  /** A content-addressed path outside the closure, without any signature, in every cache. */
  readonly contentAddressed: string
  /** Derivation of `top`; its log is in every cache, and holds this line. */
  readonly deriver: string
  readonly logLine: string
  /** Name and key: every path of the closure has exactly one signature, by this. */
  readonly key: string
  /** The same name, another key. */
  readonly wrongKey: string
  /** The binary caches: directories for an Origin. */
  readonly caches: Readonly<Record<FixtureCompression, string>>
  /** A chroot store with all of it. */
  readonly store: string
}

const logLine = 'this stands in the build log of top'

/**
 * Leaves of half a MiB without references, middles that refer to two of them, the big one, and the top that refers to the rest.
 * The builders are the host's /bin/sh and coreutils, bound into Nix's sandbox: neither network nor nixpkgs is needed.
 */
const tree = `let
  path = name: script: deps: derivation {
    inherit name deps;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" "set -e; mkdir $out; \${script}" ];
    PATH = "/usr/bin:/bin";
  };
  leaf = n: path "leaf-\${toString n}" ''
    mkdir $out/share
    echo "leaf \${toString n}" > $out/share/text
    ln -s text $out/share/link
    head -c 524288 /dev/urandom > $out/share/noise
    printf '#!/bin/sh\\necho \${toString n}\\n' > $out/run
    chmod +x $out/run
  '' [ ];
  leaves = map leaf [ 0 1 2 3 4 5 6 7 8 9 ];
  leafAt = builtins.elemAt leaves;
  middle = n: path "middle-\${toString n}" "echo $deps > $out/deps; echo $out > $out/self" [ (leafAt n) (leafAt (n + 1)) ];
  big = path "big" "head -c 31457280 /dev/urandom > $out/noise" [ ];
in path "top" "echo \${builtins.toJSON "${logLine}"}; echo $deps > $out/deps; echo 20 > $out/count" (
  map middle [ 0 1 2 3 4 5 6 7 ] ++ [ (leafAt 9) big ]
)
`

/** Builds it all under `dir`, with the system's Nix; about 15 seconds. */
export async function buildFixture(dir: string, program: NixProgram): Promise<Fixture> {
  await mkdir(dir)
  const nix = await Client.in(dir, program)
  const at = (name: string): string => join(dir, name)
  const { store } = nix

  await writeFile(at('tree.nix'), tree)
  const sandbox = ['--option', 'sandbox', 'true', '--option', 'sandbox-paths', '/bin /lib /lib64 /usr']
  const top = (await nix.succeed('nix-build', '--store', store, at('tree.nix'), '--no-out-link', ...sandbox)).trim()
  const paths = (await nix.succeed('nix-store', '--store', store, '-qR', top)).trim().split('\n')
  const deriver = (await nix.succeed('nix-store', '--store', store, '-q', '--deriver', top)).trim()

  await writeFile(at('content-addressed.txt'), 'this path proves itself\n')
  const contentAddressed = (
    await nix.succeed('nix-store', '--store', store, '--add', at('content-addressed.txt'))
  ).trim()

  const keyPair = async (name: string): Promise<string> => {
    await nix.succeed('nix-store', '--generate-binary-cache-key', 'cache.example.org-1', at(`${name}.secret`), at(name))
    return (await readFile(at(name), 'utf8')).trim()
  }
  const key = await keyPair('key')
  const wrongKey = await keyPair('wrong-key')
  await nix.succeed('nix', 'store', 'sign', '--recursive', '--store', store, '--key-file', at('key.secret'), top)

  const copied = async (compression: FixtureCompression): Promise<[FixtureCompression, string]> => {
    const cache = at(`cache-${compression}`)
    const how = `compression=${compression}&compression-level=0&write-nar-listing=1`
    await nix.succeed('nix', 'copy', '--from', store, '--to', `file://${cache}?${how}`, top, contentAddressed)
    await nix.succeed('nix', 'store', 'copy-log', '--from', store, '--to', `file://${cache}`, deriver)
    return [compression, cache]
  }
  const caches = Object.fromEntries(await Promise.all(compressions.map(copied))) as Fixture['caches']

  const named = (name: RegExp): string[] => paths.filter((path) => name.test(path))
  const [big = ''] = named(/-big$/)
  return { top, paths, big, leaves: named(/-leaf-/), contentAddressed, deriver, logLine, key, wrongKey, caches, store }
}

/** `/nix/store/<hash>-name` → `<hash>` */
export function hashOf(path: string): string {
  return path.slice('/nix/store/'.length).slice(0, 32)
}
