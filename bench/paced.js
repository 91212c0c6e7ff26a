// `node paced.js URL PATHS RATE SECONDS`: asks for so many paths a second over a few connections, whatever the answers take, and says how
// long they took. A process of its own, so that it measures the server and not its own neighbours. Its first half second does not count:
// it is itself still being compiled.

import { readFileSync } from 'node:fs'
import { Agent, get } from 'node:http'

const [origin = '', file = '', rate = '0', seconds = '0'] = process.argv.slice(2)
const paths = readFileSync(file, 'utf8').trim().split('\n')
/** Milliseconds. */
const warmUp = 500
const agent = new Agent({ keepAlive: true, maxSockets: 64 })
/** @type {number[]} */
const times = []
const total = Number(rate) * Number(seconds)
const began = performance.now()
let asked = 0
let failed = 0
let warm = 0

const settle = () => {
  if (times.length + warm + failed < total) return
  clearInterval(timer)
  agent.destroy()
  times.sort((a, b) => a - b)
  const at = (/** @type {number} */ part) => times[Math.floor(times.length * part)] ?? -1
  process.stdout.write(JSON.stringify({ failed, p50: at(0.5), p95: at(0.95), p99: at(0.99) }))
}

const timer = setInterval(() => {
  const due = Math.min(total, ((performance.now() - began) / 1000) * Number(rate))
  for (; asked < due; asked++) {
    const before = performance.now()
    get(`${origin}${paths[asked % paths.length]}`, { agent }, (answer) => {
      answer.resume()
      answer.on('end', () => {
        if (answer.statusCode !== 200) failed++
        else if (before - began < warmUp) warm++
        else times.push(performance.now() - before)
        settle()
      })
    }).on('error', () => {
      failed++
      settle()
    })
  }
}, 2)
