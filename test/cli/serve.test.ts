// Promise: serve starts what the file and the flags say, tells who waits for it, and stops in peace.

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { afterEach, beforeEach, expect, test } from 'vitest'

import type { Service, Surroundings } from '../../src/compose.ts'
import { nixosKey } from '../../src/config-schema.ts'
import type { Config } from '../../src/config.ts'
import { ProxyError } from '../../src/errors.ts'
import { testShell, type TestShell } from './shell.ts'

let t: TestShell
beforeEach(async () => {
  t = await testShell()
})
afterEach(() => t[Symbol.asyncDispose]())

/** A service that writes down what is done with it. */
function service(more: Partial<Service> = {}) {
  const done: string[] = []
  const seen: { config: Config; surroundings: Surroundings }[] = []
  const compose = (config: Config, surroundings: Surroundings): Promise<Service> => {
    seen.push({ config, surroundings })
    return Promise.resolve({
      start: () => Promise.resolve(void done.push('start')),
      stop: () => Promise.resolve(void done.push('stop')),
      addresses: ['127.0.0.1:8501', '[::1]:8501', 'unix:/run/s'],
      ...more,
    })
  }
  return { done, compose, seen }
}

test('it serves until it is told to stop', async () => {
  const { done, compose } = service()
  const running = t.run([], { compose })
  await t.heard('listening on http://127.0.0.1:8501 and http://[::1]:8501 and unix:/run/s')
  expect(done).toEqual(['start'])
  t.stopping.abort()
  expect(await running).toBe(0)
  expect(done).toEqual(['start', 'stop'])
  expect(t.err()).toContain('a second Ctrl-C stops at once')
  expect(t.out()).toBe('')
})

test('told to stop while it starts, it stops when it has started', async () => {
  const { done, compose } = service()
  t.stopping.abort()
  expect(await t.run(['serve'], { compose })).toBe(0)
  expect(done).toEqual(['start', 'stop'])
})

test('file and flags together make the configuration', async () => {
  const { seen, compose } = service()
  const file = await t.write('c.toml', 'server = { priority = 7, listen = ["127.0.0.1:1"] }')
  t.stopping.abort()
  await t.run(['--config', file, '--listen', '127.0.0.1:0', '--upstream', 'http://a', '--log-level', 'error'], {
    compose,
  })
  expect(seen[0]?.config).toMatchObject({
    server: { priority: 7, listen: ['127.0.0.1:0'] },
    trust: { keys: [nixosKey] },
    strata: [{ upstreams: [{ url: 'http://a/' }] }],
    log: { level: 'error' },
  })
  expect(t.err()).toBe('')
})

test('the parts are told where they are', async () => {
  const { seen, compose } = service()
  t.stopping.abort()
  const env = { LISTEN_PID: '42', LISTEN_FDS: '2', XDG_CACHE_HOME: '/cache' }
  await using other = await testShell({ env, stop: AbortSignal.abort() })
  await other.run([], { compose })
  expect(seen[0]?.surroundings).toMatchObject({
    hostname: 'here',
    version: '1.2.3',
    stateDir: '/cache/substrata',
    listenFds: [3, 4],
  })
})

test('the log is JSON when asked', async () => {
  const { compose } = service()
  const file = await t.write('c.toml', 'log.format = "json"')
  t.stopping.abort()
  await t.run(['--config', file], { compose })
  const [first] = t.err().split('\n')
  expect(JSON.parse(first ?? '')).toMatchObject({
    level: 'info',
    message: 'listening on http://127.0.0.1:8501 and http://[::1]:8501 and unix:/run/s',
  })
})

test('systemd is told when it serves and when it stops', async () => {
  const script = `#!/bin/sh\necho "$@" >> ${t.directory}/told\n`
  await writeFile(join(t.directory, 'systemd-notify'), script, { mode: 0o700 })
  const env = { NOTIFY_SOCKET: '/run/x', PATH: `${t.directory}:/bin:/usr/bin` }
  await using other = await testShell({ env, stop: AbortSignal.abort() })
  expect(await other.run([], service())).toBe(0)
  expect(await readFile(`${t.directory}/told`, 'utf8')).toBe(
    'READY=1 STATUS=listening on http://127.0.0.1:8501 and http://[::1]:8501 and unix:/run/s\nSTOPPING=1\n',
  )
})

test('it serves although systemd cannot be told', async () => {
  const env = { NOTIFY_SOCKET: '/run/x', PATH: t.directory }
  await using other = await testShell({ env, stop: AbortSignal.abort() })
  expect(await other.run([], service())).toBe(0)
  expect(other.err()).toContain('systemd could not be told: ')
})

test('what cannot start is stopped again, and said in a sentence', async () => {
  const start = () => Promise.reject(new ProxyError('bad-config', 'server: 127.0.0.1:80 may not be used by this user'))
  const { done, compose } = service({ start })
  expect(await t.run([], { compose })).toBe(1)
  expect(done).toEqual(['stop'])
  expect(t.err()).toBe('substrata: server: 127.0.0.1:80 may not be used by this user\n')
})

test('a mistake in the configuration is found before any part is made', async () => {
  const { seen, compose } = service()
  const file = await t.write('c.toml', 'server.deadline = 8\nstore.size = "1GB"\n')
  expect(await t.run(['--config', file], { compose })).toBe(1)
  expect(t.err()).toBe(
    `substrata: ${file}: server.deadline: 8 has no unit; write "8s" or "8ms"\n` +
      `substrata: ${file}: store.size: there is no such key; here may stand path, max_size, min_free, memory\n`,
  )
  expect(seen).toEqual([])
})
