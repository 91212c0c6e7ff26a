// What comes along with uploads: build logs, listings, realisations, debug information. Small files that no signature covers; kept
// until somebody sends them anew, outside the byte budget.

import { createHash } from 'node:crypto'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import { ProxyError } from '../errors.ts'
import { encodeBase32 } from '../nix/base32.ts'
import { diskError } from './gathered-writer.ts'
import { systemCode } from './store-health.ts'

export class UploadedResources {
  readonly #directory: string
  #serial = 0

  /** @param options.directory made with the first upload; each file is named by the SHA-256 of its request path */
  constructor({ directory }: { readonly directory: string }) {
    this.#directory = directory
  }

  /** The bytes that were uploaded to this request path (no leading slash); undefined: none were. Rejects with `store-failed`. */
  async get(path: string): Promise<Buffer | undefined> {
    try {
      return await readFile(this.#place(path))
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined
      throw diskError(error)
    }
  }

  /** Keeps the bytes; whoever reads meanwhile gets the old ones whole. Rejects with `store-full`, `store-failed`, or what the body throws. */
  async put(path: string, body: AsyncIterable<Uint8Array>): Promise<void> {
    const place = this.#place(path)
    const temporary = `${place}.${++this.#serial}`
    try {
      await mkdir(dirname(place), { recursive: true })
      const file = await open(temporary, 'w')
      try {
        for await (const chunk of body) await file.writeFile(chunk)
        await file.datasync()
      } finally {
        await file.close()
      }
      await rename(temporary, place)
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {})
      throw error instanceof ProxyError ? error : diskError(error)
    }
  }

  #place(path: string): string {
    const name = encodeBase32(createHash('sha256').update(path).digest())
    return join(this.#directory, name.slice(0, 2), name)
  }
}
