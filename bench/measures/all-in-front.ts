// Substrata, nginx's proxy_cache and whoever was named on the command line, each with an empty cache in front of one upstream.

import { join } from 'node:path'

import { nginxProxyCache, substrata, type Contestant, type Running } from '../contestants.ts'
import type { Bench } from '../measure.ts'

export type AllRunning = Readonly<Record<string, Running>>

/** Starts them, hands them on, and ends them whatever happens. */
export async function withAll<T>(
  bench: Bench,
  directory: string,
  use: (running: AllRunning) => Promise<T>,
  upstream = bench.origin,
): Promise<T> {
  return withRunning(bench, directory, [substrata(), nginxProxyCache(), ...bench.others], use, upstream)
}

/** The same for some of them. */
export async function withRunning<T>(
  bench: Bench,
  directory: string,
  contestants: readonly Contestant[],
  use: (running: AllRunning) => Promise<T>,
  upstream = bench.origin,
): Promise<T> {
  const running: Record<string, Running> = {}
  try {
    for (const contestant of contestants) {
      running[contestant.name] = await contestant.start({
        upstream,
        publicKey: bench.cache.publicKey,
        directory: join(directory, contestant.name),
      })
    }
    return await use(running)
  } finally {
    await Promise.all(Object.values(running).map(({ process }) => process.stop()))
  }
}

/** One turn for each of them. */
export function turnsOf(
  running: AllRunning,
  turn: (url: URL, round: number) => Promise<number>,
): Record<string, (round: number) => Promise<number>> {
  return Object.fromEntries(
    Object.entries(running).map(([name, { url }]) => [name, (round: number) => turn(url, round)]),
  )
}
