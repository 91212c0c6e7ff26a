// `npm run bench`: Substrata beside what people would use instead, in one run on one machine. See README.md here.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { Cache } from './cache.ts'
import { byCommand } from './contestants.ts'
import { freePort } from './free-port.ts'
import { isKept, type Bench, type Measure } from './measure.ts'
import { closure } from './measures/closure.ts'
import { coldNarinfos } from './measures/cold-narinfos.ts'
import { crowd } from './measures/crowd.ts'
import { deadUpstreams } from './measures/dead-upstreams.ts'
import { eventLoop } from './measures/event-loop.ts'
import { commits, millionNarinfos, startUp } from './measures/million.ts'
import { narHits } from './measures/nar-hits.ts'
import { bytesWritten, narMiss, shapedNarMiss } from './measures/nar-misses.ts'
import { narinfoHits } from './measures/narinfo-hits.ts'
import { startNginx } from './nginx.ts'
import { Process } from './process.ts'
import { machine, table, type Result } from './report.ts'

const measures: readonly Measure[] = [
  narinfoHits,
  millionNarinfos,
  narHits,
  shapedNarMiss,
  narMiss,
  bytesWritten,
  coldNarinfos,
  deadUpstreams,
  crowd,
  closure,
  startUp,
  commits,
  eventLoop,
]

const usage = `npm run bench -- [--only NAME]… [--against 'NAME=COMMAND']… [--rounds N] [--seconds N] [--work DIR] [--out FILE] [--short]

  --only     ${measures.map(({ name }) => name).join(', ')}
  --against  a further contestant: COMMAND sees UPSTREAM, LISTEN_PORT, CACHE_DIR and PUBKEY in its environment
  --rounds   every contestant so many times in turn; the median counts (5)
  --seconds  length of one load (4)
  --work     what took long to make is kept there and used again
  --out      where the JSON goes (bench.json)
  --short    everything once and small: shows that the bench works, and measures nothing
`

/** Exit code: 0 when all was measured, whatever came of it; 2 for wrong use. */
export async function main(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      only: { type: 'string', multiple: true, default: [] },
      against: { type: 'string', multiple: true, default: [] },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      work: { type: 'string' },
      out: { type: 'string', default: 'bench.json' },
      short: { type: 'boolean', default: false },
    },
  })
  const chosen = measures.filter(({ name }) => values.only.length === 0 || values.only.includes(name))
  const others = values.against.map(byCommand)
  const unknown = values.only.filter((name) => !measures.some((measure) => measure.name === name))
  if (unknown.length > 0 || others.includes(undefined)) {
    process.stderr.write(unknown.length > 0 ? `no measure ${unknown.join(', ')}\n${usage}` : usage)
    return 2
  }
  const work = values.work ?? (await mkdtemp(join(tmpdir(), 'substrata-bench-')))
  const temporary = await mkdtemp(join(tmpdir(), 'substrata-bench-run-'))
  await mkdir(work, { recursive: true })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      Process.killAll()
      process.exit(1)
    })
  }
  const results: Result[] = []
  const cache = await Cache.in(join(work, 'cache'))
  const ports = [await freePort(), await freePort()] as const
  const served = { server: `root ${cache.directory};` }
  const origin = await startNginx({ directory: join(temporary, 'origin'), ports: [ports[0]], ...served })
  const still = await startNginx({ directory: join(temporary, 'still'), ports: [ports[1]], ...served })
  let directories = 0
  const bench: Bench = {
    cache,
    origin: new URL(`http://127.0.0.1:${ports[0]}/`),
    still: new URL(`http://127.0.0.1:${ports[1]}/`),
    others: others.filter((one) => one !== undefined),
    rounds: Number(values.rounds ?? (values.short ? 1 : 5)),
    seconds: Number(values.seconds ?? (values.short ? 1 : 4)),
    short: values.short,
    scratch: async (name) => {
      const directory = join(temporary, `${name}-${directories++}`)
      await mkdir(directory)
      return directory
    },
    kept: (name) => join(work, name),
    say: (text) => void process.stderr.write(`${text}\n`),
  }
  try {
    for (const measure of chosen) {
      const began = performance.now()
      bench.say(`${measure.number} ${measure.name} …`)
      for (const figure of await measure.run(bench)) results.push({ number: measure.number, ...figure })
      bench.say(`${measure.number} ${measure.name}: ${Math.round((performance.now() - began) / 1000)} s`)
    }
  } finally {
    await Promise.all([origin.stop(), still.stop()])
    await rm(temporary, { recursive: true, force: true })
    if (values.work === undefined) await rm(work, { recursive: true, force: true })
  }
  const on = machine()
  const { rounds, seconds, short } = bench
  await writeFile(values.out, `${JSON.stringify({ machine: on, rounds, seconds, short, results }, null, 2)}\n`)
  process.stdout.write(`\n${on}; ${rounds} rounds\n\n${table(results)}\n`)
  const broken = results.filter(({ promise }) => promise && !isKept(promise)).length
  process.stdout.write(
    `\n${results.length} figures, ${broken} of them not as promised; ${values.out} has them as JSON\n`,
  )
  return 0
}
