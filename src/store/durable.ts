// Writes that outlive a power cut: the bytes of a small file, and the names in a directory.

import { mkdir, open } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'

/** Creates (or replaces) a file with this text and waits until it is on the disk. */
export async function writeSynced(path: string, text: string): Promise<void> {
  const file = await open(path, 'w')
  try {
    await file.writeFile(text)
    await file.datasync()
  } finally {
    await file.close()
  }
}

/** Makes a directory, with those above it, where it is not there; what is made is then on the disk for good. */
export async function makeDirectory(path: string): Promise<void> {
  const made = await mkdir(path, { recursive: true })
  if (made === undefined) return
  for (let above = resolve(path); above.length >= made.length;) {
    above = dirname(above)
    await syncDirectory(above)
  }
}

/** Waits until the names in a directory (created, renamed, removed) are on the disk. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
