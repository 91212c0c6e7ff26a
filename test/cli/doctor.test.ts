// Promise: findings can be read, say what to do, and a problem is an exit code.

import { afterEach, beforeEach, expect, test } from 'vitest'

import type { Program } from '../../src/cli/program.ts'
import type { Finding } from '../../src/doctor/finding.ts'
import { testShell, type TestShell } from './shell.ts'

let t: TestShell
beforeEach(async () => {
  t = await testShell()
})
afterEach(() => t[Symbol.asyncDispose]())

const finding: Finding = { level: 'ok', about: 'disk', says: '5 GiB free' }

function finds(...findings: readonly Finding[]) {
  const asked: Parameters<Program['examine']>[] = []
  const examine: Program['examine'] = (...given) => {
    asked.push(given)
    return Promise.resolve(findings)
  }
  return { asked, examine }
}

test('a problem fails, with what to do about it', async () => {
  const { examine } = finds(
    { level: 'problem', about: 'upstream a', says: 'cannot be reached: refused', do: 'See that it runs' },
    { level: 'warning', about: 'clock', says: 'is 5m ahead', do: 'Set it' },
    finding,
    finding,
  )
  expect(await t.run(['doctor'], { examine })).toBe(1)
  expect(t.out()).toBe(`problem  upstream a: cannot be reached: refused
         → See that it runs.
warning  clock: is 5m ahead
         → Set it.
ok       disk: 5 GiB free
ok       disk: 5 GiB free

1 problem, 1 warning, 2 ok
`)
})

test('warnings alone do not fail', async () => {
  const { examine } = finds(
    { ...finding, level: 'warning' },
    { ...finding, level: 'warning' },
    { ...finding, level: 'note' },
  )
  expect(await t.run(['doctor'], { examine })).toBe(0)
  expect(t.out()).toContain('\n2 warnings, 1 note\n')
})

test('it is done for the configuration that is named, and its store', async () => {
  const { asked, examine } = finds(finding)
  const file = await t.write('c.toml', 'server.deadline = "3s"')
  expect(await t.run(['doctor', '--config', file, '--store', '/s'], { examine })).toBe(0)
  const [config, surroundings, signal] = asked[0]!
  expect(config).toMatchObject({ server: { deadline: 3000 }, store: { path: '/s' } })
  expect(surroundings).toMatchObject({ version: '1.2.3', stateDir: `${t.directory}/.cache/substrata` })
  expect(signal).toBe(t.stopping.signal)
})

test('what a stranger’s server said is no command to the terminal', async () => {
  const { examine } = finds({ ...finding, says: '\u001b[2J', do: '\u0007' })
  await t.run(['doctor'], { examine })
  expect(t.out().replaceAll('\n', '')).not.toMatch(/\p{Cc}/u)
})
