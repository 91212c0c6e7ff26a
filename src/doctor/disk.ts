// Whether the disk is fit for a store: room, inodes, and a file system that SQLite can work on.

import { statfs } from 'node:fs/promises'

import { printSize } from '../units.ts'
import type { Finding } from './finding.ts'

const about = 'disk'
/** Part of all inodes below which they will be what runs out. */
const fewInodes = 0.02

/** Magic numbers of statfs(2): where files do not outlive a reboot, and where locks and shared memory are not to be relied on. */
const unfit: ReadonlyMap<number, string> = new Map([
  [0x01021994, 'tmpfs'],
  [0x858458f6, 'ramfs'],
])
const shared: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB'],
])

export interface DiskOptions {
  /** A directory that is there: the store's, or the nearest above it. */
  readonly directory: string
  readonly minFree: number
  readonly maxSize: number | undefined
}

/** Rejects by the file system. */
export async function judgeDisk({ directory, minFree, maxSize }: DiskOptions): Promise<readonly Finding[]> {
  const { type, bsize, blocks, bavail, files, ffree } = await statfs(directory)
  const [free, whole] = [bavail * bsize, blocks * bsize]
  const findings: Finding[] = []
  if (free < minFree) {
    const says = `${printSize(free)} free, less than store.min_free (${printSize(minFree)}): nothing new is kept`
    findings.push({
      level: 'problem',
      about,
      says,
      do: 'Make room, lower store.min_free, or set store.max_size so that older NARs go',
    })
  }
  if (maxSize !== undefined && maxSize + minFree > whole) {
    const says = `store.max_size (${printSize(maxSize)}) and store.min_free are more than the whole of it (${printSize(whole)})`
    findings.push({
      level: 'warning',
      about,
      says,
      do: 'Lower store.max_size: evicting in time is better than a full disk',
    })
  }
  // Where inodes are made as they are needed (btrfs) there are none to count.
  if (files > 0 && ffree < files * fewInodes) {
    const says = `only ${ffree} inodes are free, of ${files}; each NAR takes two`
    findings.push({ level: 'warning', about, says, do: 'Make room on it, or put store.path on another file system' })
  }
  const volatile = unfit.get(type)
  if (volatile !== undefined) {
    findings.push({
      level: 'warning',
      about,
      says: `it is a ${volatile}: all is lost at a reboot`,
      do: 'Put store.path on a real disk',
    })
  }
  const network = shared.get(type)
  if (network !== undefined) {
    const says = `it is ${network}, on which the catalogue and its lock cannot be relied on`
    findings.push({ level: 'warning', about, says, do: 'Put store.path on a local disk' })
  }
  if (findings.length > 0) return findings
  return [{ level: 'ok', about, says: `${printSize(free)} free of ${printSize(whole)}` }]
}
