// Measure 8: ten upstreams of which eight take no connection and say nothing.

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'

import { substrata } from '../contestants.ts'
import { freePorts } from '../free-port.ts'
import { askSteadily, writePaths } from '../load.ts'
import { atMost, type Measure } from '../measure.ts'
import { startNginx } from '../nginx.ts'
import { median } from '../rounds.ts'
import { withRunning } from './all-in-front.ts'

const hedge = 400
/** Narinfos a second. */
const rate = 100

export const deadUpstreams: Measure = {
  number: 8,
  name: 'dead-upstreams',
  run: async (bench) => {
    const directory = await bench.scratch('dead-upstreams')
    const ports = await freePorts(10)
    const server = `root ${bench.cache.directory};`
    const nginx = await startNginx({ directory: join(directory, 'nginx'), ports, server })
    const holes = await BlackHoles.open(8)
    try {
      const alive = ports.map((port) => new URL(`http://127.0.0.1:${port}/`))
      const mostlyDead = [...holes.urls, ...alive.slice(0, 2)]
      /** Each set of names is new to whoever is asked: everybody begins a round with an empty store. */
      const p95 = async (url: URL, set: string, seconds = 3): Promise<number> => {
        const hashes = (await bench.cache.paths(`dead-${set}`, rate * seconds)).map(({ hash }) => hash)
        const paths = await writePaths(join(directory, `paths-${set}`), hashes)
        return (await askSteadily(url, { paths, rate, seconds })).p95
      }
      const times = { alive: [] as number[], before: [] as number[], known: [] as number[] }
      for (let round = 0; round < 2 * bench.rounds; round++) {
        const contestants = [
          { ...substrata({ upstreams: alive, hedge: `${hedge}ms` }), name: 'alive' },
          { ...substrata({ upstreams: mostlyDead, hedge: `${hedge}ms` }), name: 'dead' },
        ]
        await withRunning(bench, join(directory, String(round)), contestants, async (running) => {
          const url = (name: string): URL => running[name]?.url ?? bench.origin
          times.before.push(await p95(url('dead'), 'first'))
          await p95(url('alive'), 'first')
          // Three connections that nobody took, 3 s each: then it is known what they are.
          await p95(url('dead'), 'second', 10)
          times.alive.push(await p95(url('alive'), 'third'))
          times.known.push(await p95(url('dead'), 'third'))
        })
      }
      const [all, before, known] = [median(times.alive), median(times.before), median(times.known)]
      return [
        {
          what: 'p95 of a cold narinfo: ten upstreams alive, eight of them dead and known to be',
          unit: 'ms',
          values: { alive: all, dead: known },
          promise: atMost('dead ÷ alive', known / all, 1.1),
        },
        {
          what: 'the same for the first narinfos ever asked, when nobody knows',
          unit: 'ms',
          values: { alive: all, dead: before },
          promise: atMost('dead − alive', before - all, hedge, 'ms'),
        },
      ]
    } finally {
      await holes.close()
      await nginx.stop()
    }
  },
}

/** Addresses whose packets are lost: a listener that was stopped, with its queue full, takes no more of them in. */
class BlackHoles {
  readonly urls: readonly URL[]
  readonly #child: ChildProcess
  readonly #queued: readonly Socket[]

  private constructor(urls: readonly URL[], child: ChildProcess, queued: readonly Socket[]) {
    this.urls = urls
    this.#child = child
    this.#queued = queued
  }

  static async open(count: number): Promise<BlackHoles> {
    const listen = `const { createServer } = require('node:net')
const ports = []
for (let n = 0; n < ${count}; n++) {
  const server = createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
    if (ports.push(server.address().port) === ${count}) console.log(JSON.stringify(ports))
  })
}`
    const child = spawn(process.execPath, ['-e', listen], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [said] = (await once(child.stdout, 'data')) as [Buffer]
    const ports = JSON.parse(said.toString()) as number[]
    child.kill('SIGSTOP')
    // Two connections are taken in by the kernel; of the third nobody hears again.
    const queued = ports.flatMap((port) =>
      Array.from({ length: 4 }, () => connect(port, '127.0.0.1').on('error', () => {})),
    )
    await new Promise((resolve) => setTimeout(resolve, 200))
    return new BlackHoles(
      ports.map((port) => new URL(`http://127.0.0.1:${port}/`)),
      child,
      queued,
    )
  }

  async close(): Promise<void> {
    for (const socket of this.#queued) socket.destroy()
    const gone = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await gone
  }
}
