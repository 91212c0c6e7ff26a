// Writes that outlive a power cut: the bytes of a small file, and the names in a directory.

import { open } from 'node:fs/promises'

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

/** Waits until the names in a directory (created, renamed, removed) are on the disk. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
