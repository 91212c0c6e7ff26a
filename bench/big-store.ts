// A store of very many paths, made without asking anybody for them: rows, narinfos and NAR files as the program itself lays them out.

import { existsSync } from 'node:fs'
import { link, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { narFileName, narIdentity } from '../src/nix/nar-url.ts'
import { parseNarInfo } from '../src/nix/narinfo.ts'
import { parsePublicKey } from '../src/nix/signature.ts'
import { Catalogue } from '../src/store/catalogue.ts'
import { narColumn } from '../src/store/held-nar.ts'
import { Layout } from '../src/store/layout.ts'
import { Trust } from '../src/store/trust.ts'
import type { Cache, Entry } from './cache.ts'

/** Names that one file may have: ext4 allows 65,000. */
const namesPerFile = 50_000
/** Rows of one transaction. */
const batch = 10_000

/**
 * Makes a store that holds so many paths under `root`, unless it is there already, and gives their hashes. Their NARs are one small file
 * under many names; each has its narinfo beside it, a file of its own. Some spare ones that nobody knows of were used before all others:
 * they are what an eviction takes.
 */
export async function bigStore(
  cache: Cache,
  { root, count, spare }: { readonly root: string; readonly count: number; readonly spare: number },
): Promise<readonly string[]> {
  const hashesFile = `${root}.hashes`
  if (existsSync(hashesFile)) return (await readFile(hashesFile, 'utf8')).split('\n')
  const layout = new Layout({ root })
  const trust = new Trust({ keys: [parsePublicKey(cache.publicKey)] })
  await mkdir(layout.incoming, { recursive: true })
  const catalogue = Catalogue.open(layout.catalogue)
  if (!catalogue) throw new Error(`${root} holds a catalogue of another schema`)
  const hashes: string[] = []
  let held = 0
  const shards = new Set<string>()
  const began = Date.now() - count - spare
  const hold = async (entries: readonly Entry[]): Promise<void> => {
    const narinfos = entries.map(({ narinfo }) => parseNarInfo(narinfo, '/nix/store'))
    catalogue.atOnce(() => {
      for (const [index, narinfo] of narinfos.entries()) {
        const at = began + held + index
        catalogue.hold({
          hash: narinfo.storePath.hash,
          nar: narColumn(narFileName(narinfo.storePath.hash, narIdentity(narinfo))),
          narinfo: entries[index]?.narinfo ?? '',
          url: narinfo.url,
          source: 'origin-0',
          ...trust.written('bench-1'),
          recordedAt: at,
          size: narinfo.narSize,
          checked: 'nar',
          lastAccess: at * 1000,
        })
      }
    })
    for (const [index, narinfo] of narinfos.entries()) {
      const { hash } = narinfo.storePath
      const name = narFileName(hash, narIdentity(narinfo))
      const shard = layout.shard(hash)
      if (!shards.has(shard)) await mkdir(shard, { recursive: true })
      shards.add(shard)
      const body = join(root, `small-${Math.floor(held / namesPerFile)}`)
      if (!existsSync(body)) await writeFile(body, await readFile(join(cache.directory, entries[index]?.narPath ?? '')))
      await Promise.all([link(body, layout.nar(name)), writeFile(layout.sidecar(name), entries[index]?.narinfo ?? '')])
      held++
    }
  }
  for (let at = 0; at < spare; at += batch)
    await hold(await cache.paths(`spare-${at}`, Math.min(batch, spare - at), false))
  for (let at = 0; at < count; at += batch) {
    const entries = await cache.paths(`big-${at}`, Math.min(batch, count - at), false)
    await hold(entries)
    for (const { hash } of entries) hashes.push(hash)
  }
  catalogue.settle()
  catalogue.close()
  await writeFile(hashesFile, hashes.join('\n'))
  return hashes
}
