// A wire of one gigabit a second: nginx in a network namespace of its own, whose end of the wire sends no faster (tc's tbf).

import { join } from 'node:path'

import type { Bench } from './measure.ts'
import { startNginx } from './nginx.ts'
import { run } from './run.ts'

const ours = '10.213.77.1'
const theirs = '10.213.77.2'
const port = 8080

/** Serves the cache over the wire while `use` runs. */
export async function withWire<T>(bench: Bench, use: (url: URL) => Promise<T>): Promise<T> {
  const name = `bench-${process.pid}`
  const [here, there] = [`bh${process.pid}`, `bt${process.pid}`].map((device) => device.slice(0, 15)) as [
    string,
    string,
  ]
  const within = ['ip', 'netns', 'exec', name]
  const ip = (...words: readonly string[]): Promise<string> => run('ip', words)
  const inside = (...words: readonly string[]): Promise<string> => run('ip', ['netns', 'exec', name, ...words])
  await ip('netns', 'add', name)
  try {
    await ip('link', 'add', here, 'type', 'veth', 'peer', 'name', there, 'netns', name)
    await ip('addr', 'add', `${ours}/30`, 'dev', here)
    await ip('link', 'set', here, 'up')
    await inside('ip', 'addr', 'add', `${theirs}/30`, 'dev', there)
    await inside('ip', 'link', 'set', there, 'up')
    await inside(
      'tc',
      'qdisc',
      'add',
      'dev',
      there,
      'root',
      'tbf',
      'rate',
      '1gbit',
      'burst',
      '256kb',
      'latency',
      '50ms',
    )
    const directory = await bench.scratch('wire')
    const server = `root ${bench.cache.directory};`
    const nginx = await startNginx({ directory: join(directory, 'nginx'), ports: [port], host: theirs, server, within })
    try {
      return await use(new URL(`http://${theirs}:${port}/`))
    } finally {
      await nginx.stop()
    }
  } finally {
    // Its end of the wire goes with it, and ours with that.
    await ip('netns', 'del', name)
  }
}
