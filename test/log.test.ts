// The log: a line an event, whatever the event says.

import { expect, test } from 'vitest'

import { chain, createLog, OncePer, silentLog, type LogFormat } from '../src/log.ts'

function lines(format: LogFormat, level: 'info' | 'debug' = 'info') {
  const written: string[] = []
  return { written, log: createLog({ level, format, write: (line) => written.push(line), now: () => 0 }) }
}

test('text: time, level, sentence, fields; values with spaces are quoted and undefined ones left out', () => {
  const { written, log } = lines('text')
  log.warn('it is late', { from: 'a b', bytes: 3, none: undefined })
  expect(written).toEqual(['1970-01-01T00:00:00.000Z warn  it is late from="a b" bytes=3\n'])
})

test('JSON: one object a line', () => {
  const { written, log } = lines('json')
  log.info('x\ny', { bytes: 3 })
  expect(JSON.parse(written[0] ?? '')).toEqual({
    time: '1970-01-01T00:00:00.000Z',
    level: 'info',
    message: 'x\ny',
    bytes: 3,
  })
  expect(written[0]?.indexOf('\n')).toBe((written[0]?.length ?? 0) - 1)
})

test('nothing that a stranger sends breaks the line or reaches the terminal as a command', () => {
  const { written, log } = lines('text')
  log.info('a\r\nb\u001b[31m\u0085', { path: 'x\ny' })
  // oxlint-disable-next-line no-control-regex -- control characters are what must not be there
  expect(written[0]?.slice(0, -1)).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/)
})

test('lines below the level are not written', () => {
  const { written, log } = lines('text')
  log.debug('quiet')
  expect(written).toEqual([])
  expect([log.enabled('debug'), log.enabled('error')]).toEqual([false, true])
  silentLog.warn('nobody hears it')
})

test('each culprit is named once, until it is well again', () => {
  const once = new OncePer()
  expect([once.first('a'), once.first('a'), once.first('b')]).toEqual([true, false, true])
  expect([once.forget('a'), once.forget('a'), once.first('a')]).toEqual([true, false, true])
})

test('a failure is told with its causes', () => {
  expect(chain(new Error('a', { cause: new Error('b', { cause: 'c' }) }))).toBe('a: b: c')
})
