// Promise: the exit code and one sentence say how it went: 0 done, 1 failed, 2 wrong use.

import { readFileSync } from 'node:fs'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { stateDirectory } from '../../src/cli/shell.ts'
import { ownVersion } from '../../src/cli/version.ts'
import { ProxyError } from '../../src/errors.ts'
import { testShell, type TestShell } from './shell.ts'

let t: TestShell
beforeEach(async () => {
  t = await testShell()
})
afterEach(() => t[Symbol.asyncDispose]())

test('--help and --version are results, not complaints', async () => {
  expect(await t.run(['--help'])).toBe(0)
  expect(t.out()).toContain('Usage: substrata [COMMAND] [FLAGS]')
  expect(await t.run(['verify', '--help'])).toBe(0)
  expect(t.out()).toContain('Usage: substrata verify [FLAGS]')
  expect(await t.run(['--version'])).toBe(0)
  expect(t.out()).toMatch(/substrata 1\.2\.3\n$/)
  expect(t.err()).toBe('')
})

test('wrong use is 2, with a sentence and where to read on', async () => {
  expect(await t.run(['--max-size', '200'])).toBe(2)
  expect(t.err()).toBe(
    'substrata: --max-size: 200 has no unit; write "200GiB" or "200MB".\nTry "substrata serve --help".\n',
  )
  expect(t.out()).toBe('')
})

test('an unknown command points to the overview', async () => {
  expect(await t.run(['verfy'])).toBe(2)
  expect(t.err()).toBe('substrata: there is no command verfy; did you mean verify?\nTry "substrata --help".\n')
})

test('a failure is 1, with a sentence', async () => {
  const compose = () => Promise.reject(new ProxyError('store-failed', 'store: /x is in use by process 7'))
  expect(await t.run([], { compose })).toBe(1)
  expect(t.err()).toBe('substrata: store: /x is in use by process 7\n')
})

test('an error of the system is a sentence, a bug comes with its stack', async () => {
  const system = Object.assign(new Error('listen EADDRINUSE 127.0.0.1:80'), { code: 'EADDRINUSE' })
  expect(await t.run([], { compose: () => Promise.reject(system) })).toBe(1)
  expect(t.err()).toBe('substrata: listen EADDRINUSE 127.0.0.1:80\n')
  expect(await t.run([], { compose: () => Promise.reject(new TypeError('x is not a function')) })).toBe(1)
  expect(t.err()).toMatch(/substrata: TypeError: x is not a function\nsubstrata: +at /)
})

test('the version is that of the package', () => {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  expect(text).toContain(`"version": "${ownVersion()}"`)
})

describe('the store is', () => {
  test.each([
    [{ STATE_DIRECTORY: '/var/lib/substrata', XDG_CACHE_HOME: '/c' }, '/var/lib/substrata'],
    [{ STATE_DIRECTORY: '/var/lib/substrata:/var/lib/other' }, '/var/lib/substrata'],
    [{ XDG_CACHE_HOME: '/c' }, '/c/substrata'],
    [{ XDG_CACHE_HOME: 'c', STATE_DIRECTORY: '' }, '/home/me/.cache/substrata'],
    [{}, '/home/me/.cache/substrata'],
  ])('with %j in %s', (env, directory) => {
    expect(stateDirectory({ env, home: '/home/me' })).toBe(directory)
  })
})
