// The load: wrk for many small answers, curl for large ones. Both are other programs than those that are measured, and not of ours.

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { run } from './run.ts'

export interface Asked {
  /** Answers a second. */
  readonly rate: number
  /** Milliseconds. */
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly requests: number
  /** With `once`: there were too few paths, and some were asked for twice. */
  readonly usedUp: boolean
}

export interface AskOptions {
  readonly url: URL
  /** A file of paths, one a line: see {@link writePaths}. */
  readonly paths: string
  /** `once`: each path once, as long as there are any. */
  readonly order: 'turn' | 'once' | 'random'
  readonly connections: number
  readonly seconds: number
}

/** What ask.lua prints; microseconds. */
type Told = Readonly<
  Record<'requests' | 'microseconds' | 'failed' | 'refused' | 'usedup' | 'p50' | 'p95' | 'p99', number>
>

let seed = 0

/** Asks for narinfos as fast as answers come. Rejects when one of them is not 200. */
export async function ask({ url, paths, order, connections, seconds }: AskOptions): Promise<Asked> {
  const script = join(import.meta.dirname, 'ask.lua')
  const said = await run(
    'wrk',
    ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '20s', '-s', script, url.origin],
    { ...process.env, PATHS: paths, ORDER: order, SEED: String(++seed) },
  )
  const told: unknown = JSON.parse(said.trim().split('\n').at(-1) ?? '')
  const { requests, microseconds, failed, refused, usedup, p50, p95, p99 } = told as Told
  // At the very end wrk may cut what it has just asked for.
  if (refused > 0 || failed > connections)
    throw new Error(`${url.origin}: ${refused} refused, ${failed} failed\n${said}`)
  return {
    rate: requests / (microseconds / 1e6),
    p50: p50 / 1000,
    p95: p95 / 1000,
    p99: p99 / 1000,
    requests,
    usedUp: usedup > 0,
  }
}

/** Milliseconds that narinfos took which were asked for at a steady rate, whatever the answers took. Rejects when one is not 200. */
export async function askSteadily(
  url: URL,
  { paths, rate, seconds }: { readonly paths: string; readonly rate: number; readonly seconds: number },
): Promise<{ readonly p50: number; readonly p95: number; readonly p99: number }> {
  const script = join(import.meta.dirname, 'paced.js')
  const told: unknown = JSON.parse(
    await run(process.execPath, [script, url.origin, paths, String(rate), String(seconds)]),
  )
  const { failed, ...times } = told as Record<'failed' | 'p50' | 'p95' | 'p99', number>
  if (failed > 0) throw new Error(`${url.origin}: ${failed} narinfos failed`)
  return times
}

/** The file that `ask` reads. */
export async function writePaths(file: string, hashes: Iterable<string>): Promise<string> {
  await writeFile(file, Array.from(hashes, (hash) => `/${hash}.narinfo\n`).join(''))
  return file
}

/** The address of a path's NAR, as whoever is asked names it. */
export async function narUrl(url: URL, hash: string): Promise<URL> {
  const narinfo = await run('curl', ['-sSf', new URL(`${hash}.narinfo`, url).href])
  const named = /^URL: (.+)$/m.exec(narinfo)?.[1]
  if (named === undefined) throw new Error(`${url.href} has no URL for ${hash}`)
  return new URL(named, url)
}

/** Downloads at once. Resolves to seconds from the start to the last byte of the last one. Rejects when one is not whole. */
export async function download(urls: readonly URL[], size: number): Promise<number> {
  const before = performance.now()
  const all = urls.map((url) => run('curl', ['-sSf', '-o', '/dev/null', '-w', '%{size_download}', url.href]))
  const sizes = await Promise.all(all)
  const took = (performance.now() - before) / 1000
  for (const got of sizes) if (Number(got) !== size) throw new Error(`${got} of ${size} bytes`)
  return took
}

/** Seconds until the first byte, and until the last one, of one download. */
export async function timed(
  url: URL,
): Promise<{ readonly first: number; readonly last: number; readonly size: number }> {
  const said = await run('curl', [
    '-sSf',
    '-o',
    '/dev/null',
    '-w',
    '%{time_starttransfer} %{time_total} %{size_download}',
    url.href,
  ])
  const [first = 0, last = 0, size = 0] = said.split(' ').map(Number)
  return { first, last, size }
}

/** Gets narinfo and NAR of every path, some at a time: whoever is asked holds them afterwards. */
export async function fetchAll(url: URL, hashes: readonly string[], atOnce = 32): Promise<void> {
  const left = [...hashes]
  const worker = async (): Promise<void> => {
    for (let hash = left.pop(); hash !== undefined; hash = left.pop()) {
      const narinfo = await body(new URL(`${hash}.narinfo`, url))
      const named = /^URL: (.+)$/m.exec(narinfo.toString())?.[1] ?? ''
      await body(new URL(named, url))
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

async function body(url: URL): Promise<Buffer> {
  const response = await fetch(url)
  const bytes = Buffer.from(await response.arrayBuffer())
  if (!response.ok) throw new Error(`${url.href}: ${response.status} ${bytes.toString()}`)
  return bytes
}
