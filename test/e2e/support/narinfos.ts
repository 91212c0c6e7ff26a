// Narinfos and NARs as a program that is not Nix fetches them: the bytes on the wire, for comparisons.

import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { vi } from 'vitest'

import { hashOf } from './fixture.ts'

/** The text of a path's narinfo. Throws on any status but 200. */
export async function narinfo(url: string, path: string): Promise<string> {
  const response = await fetch(`${url}/${hashOf(path)}.narinfo`)
  if (response.status !== 200) throw new Error(`${response.status} for the narinfo of ${path}`)
  return response.text()
}

/** The same from the directory of a binary cache. */
export function narinfoOnDisk(cache: string, path: string): Promise<string> {
  return readFile(join(cache, `${hashOf(path)}.narinfo`), 'utf8')
}

/** The value of the first line with this key. */
export function field(narinfo: string, key: string): string | undefined {
  return narinfo
    .split('\n')
    .find((line) => line.startsWith(`${key}: `))
    ?.slice(key.length + 2)
}

/** All lines but the one that is the proxy's own to write. */
export function withoutUrl(narinfo: string): string {
  return narinfo.replace(/^URL: .*\n/m, '')
}

/** SHA-256 of the NAR file behind a narinfo, in hex, and its length. */
export async function narDigest(
  url: string,
  narinfo: string,
): Promise<{ readonly sha256: string; readonly size: number }> {
  const response = await fetch(`${url}/${field(narinfo, 'URL')}`)
  if (response.status !== 200) throw new Error(`${response.status} for the NAR of ${field(narinfo, 'StorePath')}`)
  const bytes = new Uint8Array(await response.arrayBuffer())
  return { sha256: createHash('sha256').update(bytes).digest('hex'), size: bytes.length }
}

/** Which of these paths a proxy has on its own disk, NAR and all: it is told to ask nobody (RFC 9111, only-if-cached). */
export async function held(url: string, paths: readonly string[]): Promise<readonly string[]> {
  const headers = { 'Cache-Control': 'only-if-cached' }
  const statuses = paths.map(async (path) => (await fetch(`${url}/${hashOf(path)}.narinfo`, { headers })).status)
  const answers = await Promise.all(statuses)
  return paths.filter((_, index) => answers[index] === 200)
}

/** Waits until it has them all: the last bytes of a NAR reach the client before it is checked and has its name on the disk. */
export function holds(url: string, paths: readonly string[]): Promise<boolean> {
  return vi.waitUntil(async () => (await held(url, paths)).length === paths.length, { timeout: 20_000 })
}
