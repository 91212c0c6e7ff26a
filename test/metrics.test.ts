// The metrics: what a trail counts for, and that no label comes from outside.

import { expect, test } from 'vitest'

import { Metrics } from '../src/metrics.ts'
import { Trail } from '../src/trail.ts'

test('a question counts once for everybody who was asked, by what came of it', async () => {
  const [metrics, trail] = [new Metrics(), new Trail()]
  trail.settle(trail.ask('quick', 'near'), { kind: 'found', signedBy: 'k-1' })
  trail.settle(trail.ask('second', 'near'), { kind: 'found', signedBy: 'k-1' })
  trail.ask('slow', 'near')
  trail.settle(trail.ask('down', 'far'), { kind: 'failed', code: 'unreachable', why: 'refused' })
  trail.settle(trail.ask('closed', 'far'), { kind: 'skipped', why: 'circuit open' })
  trail.winner = 'quick'
  metrics.count(trail)
  const text = await metrics.text()
  const answers = [...text.matchAll(/^substrata_upstream_answers_total\{.*upstream="(.*?)",outcome="(.*?)"\} 1$/gm)]
  expect(answers.map(([, who, outcome]) => `${who} ${outcome}`)).toEqual([
    'quick won',
    'second found',
    'slow outrun',
    'down failed:unreachable',
    'closed skipped',
  ])
  expect(text).toContain('substrata_upstream_asked_total{stratum="far",upstream="down"} 1')
  expect(text).not.toContain('substrata_upstream_asked_total{stratum="far",upstream="closed"}')
  expect(text).toContain('substrata_upstream_answer_seconds_count{stratum="near",upstream="quick"} 1')
})

test('a gauge is read when somebody asks', async () => {
  const metrics = new Metrics()
  let value = 1
  metrics.gauge('substrata_test', 'A test.', () => value)
  value = 2
  expect(await metrics.text()).toContain('substrata_test 2')
})
