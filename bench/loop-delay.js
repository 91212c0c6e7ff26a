// Imported into the program before anything else: on SIGUSR2 begins to watch how late the event loop is, on the next one says so in the
// file LOOP_DELAY, in milliseconds.

import { writeFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'

const resolution = 1
const histogram = monitorEventLoopDelay({ resolution })
let watching = false

process.on('SIGUSR2', () => {
  if (watching) {
    histogram.disable()
    // What is recorded is the time from one tick to the next: the tick itself is no delay.
    const late = (/** @type {number} */ nanoseconds) => Math.max(0, nanoseconds / 1e6 - resolution)
    const said = { p50: late(histogram.percentile(50)), p99: late(histogram.percentile(99)), max: late(histogram.max) }
    writeFileSync(process.env['LOOP_DELAY'] ?? '/dev/null', JSON.stringify(said))
  } else {
    histogram.reset()
    histogram.enable()
  }
  watching = !watching
})
