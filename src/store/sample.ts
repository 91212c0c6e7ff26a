// A few narinfos of what is held, read from the files alone: for the doctor, who asks the upstreams about them.

import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { parseNarInfo, type NarInfo } from '../nix/narinfo.ts'
import { Layout, sidecarEnding } from './layout.ts'

/** Read from each directory, so that one sample is not all of one kind. */
const mostOfShard = 4

/**
 * At most so many narinfos of held NARs, of whatever the directories give first. Needs no lock. Empty where there is no store, or none
 * that may be read.
 */
export async function sampleNarInfos(root: string, storeDir: string, most: number): Promise<readonly NarInfo[]> {
  const { nars } = new Layout({ root })
  const found: NarInfo[] = []
  for (const shard of await namesIn(nars)) {
    const names = (await namesIn(join(nars, shard))).filter((name) => name.endsWith(sidecarEnding))
    for (const name of names.slice(0, mostOfShard)) {
      const narinfo = await read(join(nars, shard, name), storeDir)
      if (narinfo) found.push(narinfo)
      if (found.length >= most) return found
    }
  }
  return found
}

async function namesIn(path: string): Promise<readonly string[]> {
  return readdir(path).catch(() => [])
}

async function read(path: string, storeDir: string): Promise<NarInfo | undefined> {
  try {
    return parseNarInfo(await readFile(path, 'utf8'), storeDir)
  } catch {
    return undefined
  }
}
