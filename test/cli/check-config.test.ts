// Promise: check-config finds what serve would stumble over, says what a good configuration comes to, and leaves no trace.

import { readdir } from 'node:fs/promises'

import { afterEach, beforeEach, expect, test } from 'vitest'

import { nixosKey } from '../../src/config-schema.ts'
import { testShell, type TestShell } from './shell.ts'

let t: TestShell
beforeEach(async () => {
  t = await testShell()
})
afterEach(() => t[Symbol.asyncDispose]())

test('the defaults have no mistakes', async () => {
  expect(await t.run(['check-config'])).toBe(0)
  expect(t.out()).toBe(`the built-in defaults: no mistakes
  listens on  127.0.0.1:8501
  keeps       ${t.directory}/.cache/substrata, leaving 1.00 GiB free
  trusts      cache.nixos.org-1
  asks        internet: https://cache.nixos.org/
  uploads     refused
`)
  expect(await readdir(t.directory)).toEqual([])
})

test('a good file is summed up', async () => {
  await t.write('uploaders', 'bob:secret')
  await t.write('keys', nixosKey)
  const file = await t.write(
    'c.toml',
    `
    server = { listen = ["127.0.0.1:0", "unix:/run/s"], uploads = { credentials = "uploaders", addresses = ["10.0.0.0/8"] } }
    store = { path = "cache", max_size = "200GiB" }
    trust.keys = ["./keys"]
    peers = [{ id = "bob", urls = ["http://192.0.2.7:8501"] }]
    [[strata]]
    name = "near"
    peers = true
    hedge = "150ms"
    [[strata]]
    name = "internet"
    upstreams = [{ url = "https://a" }, { url = "https://b" }]`,
  )
  expect(await t.run(['check-config', '--config', file])).toBe(0)
  expect(t.out()).toBe(`${file}: no mistakes
  listens on  127.0.0.1:0, unix:/run/s
  keeps       ${t.directory}/cache, at most 200 GiB, leaving 1.00 GiB free
  trusts      cache.nixos.org-1
  asks        near: peer bob (and after 150ms the next)
  then        internet: https://a/, https://b/
  uploads     from 1 login, 10.0.0.0/8; never evicted
`)
  expect(t.err()).toBe('')
  expect((await readdir(t.directory)).sort()).toEqual(['c.toml', 'keys', 'uploaders'])
})

test('pass-through is shown as what it is (case 143)', async () => {
  const file = await t.write('c.toml', 'trust = { keys = [], allow_unsigned = true }')
  await t.run(['check-config', '--config', file])
  expect(t.out()).toContain('trusts      whatever comes: nothing is verified here')
})

test('mistakes in the files that it names are found too', async () => {
  const file = await t.write('c.toml', 'trust.keys = ["./keys"]\nserver.uploads = "uploaders"')
  await t.write('keys', '# none\n')
  expect(await t.run(['check-config', '--config', file])).toBe(1)
  expect(t.err()).toBe(
    `substrata: trust.keys[0]: ${t.directory}/keys: holds no key\n` +
      `substrata: server.uploads: ${t.directory}/uploaders: there is no such file\n`,
  )
  expect(t.out()).toBe('')
})

test('a file that is not there is said to be', async () => {
  expect(await t.run(['check-config', '--config', '/nowhere/c.toml'])).toBe(1)
  expect(t.err()).toBe('substrata: /nowhere/c.toml: there is no such file\n')
  expect(await t.run(['check-config', '--config', t.directory])).toBe(1)
  expect(t.err()).toContain(`substrata: ${t.directory}: it is a directory\n`)
})
