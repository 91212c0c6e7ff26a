// Promise: the running proxy explains itself; without one the question is asked from here; and which of both it was is said.

import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'

import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'

import type { Program } from '../../src/cli/program.ts'
import { explain, type Explanation } from '../../src/explanation.ts'
import { startScriptedUpstream } from '../support/scripted-upstream.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'
import { startProxy } from '../support/test-proxy.ts'
import { testShell, type TestShell } from './shell.ts'

const hash = 'sp69qifh9883ihs597ic0b4l257lv18n' as Explanation['hash']
const path = `/nix/store/${hash}-demo-2`

let t: TestShell
beforeEach(async () => {
  t = await testShell()
})
afterEach(() => t[Symbol.asyncDispose]())

/** Nobody has anything. */
function alone(owner?: string) {
  const asked: string[] = []
  const program: Pick<Program, 'explain'> = {
    explain: (config, _surroundings, hash) => {
      asked.push(hash)
      const explanation = explain({
        hash,
        storeDir: config.server.storeDir,
        keys: [],
        unreachable: 'miss',
        askedAt: 0,
        took: 1,
        held: [],
        remembered: undefined,
        strata: [],
        addressees: [],
      })
      return Promise.resolve({ explanation, owner })
    },
  }
  return { asked, program }
}

/** A configuration that listens where this server does. */
async function listening(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  onTestFinished(() => void server.close())
  const { port } = server.address() as AddressInfo
  return t.write('c.toml', `server.listen = ["127.0.0.1:${port}"]`)
}

describe('with a proxy running', () => {
  test('what it says is printed, of each path', async () => {
    const cache = new SyntheticCache()
    const origin = await startScriptedUpstream({ cache })
    onTestFinished(() => origin.close())
    const hello = cache.add({ name: 'hello' })
    const proxy = await startProxy({ keys: [cache.publicKey], strata: [[origin.url]] })
    const file = await t.write('c.toml', `server.listen = ["127.0.0.1:9", "${new URL(proxy.url).host}"]`)
    expect(await t.run(['explain', hello.storePath, '--config', file])).toBe(0)
    expect(t.out()).toContain(`${hello.storePath}\n\nA client gets it from `)
    expect(t.err()).toBe(`The proxy at ${new URL(proxy.url).host} says:\n`)
    expect(await t.run(['explain', hello.hash, hash, '--config', file])).toBe(1)
    expect(t.out()).toContain(
      `\n\n/nix/store/${hash}\n\nA client is told that there is no such path: everybody says no.\n`,
    )
  })

  test.each([
    ['refuses', 403, {}],
    ['is something else', 200, {}],
  ])('one that %s is not believed, and everybody is asked from here', async (_, status, headers) => {
    const file = await listening((_request, response) => response.writeHead(status, headers).end('hello'))
    const { asked, program } = alone()
    expect(await t.run(['explain', path, '--config', file], program)).toBe(1)
    expect(asked).toEqual([hash])
    expect(t.err()).toMatch(
      /What runs at 127\.0\.0\.1:\d+ does not explain itself \((200|403)\): everybody is asked from here/,
    )
  })

  test('what it says is no command to the terminal', async () => {
    const file = await listening((_request, response) =>
      response.writeHead(200, { 'substrata-verdict': 'found' }).end('\u001b[2Jhello\nyou\n'),
    )
    expect(await t.run(['explain', path, '--config', file])).toBe(0)
    expect(t.out()).toBe('\uFFFD[2Jhello\nyou\n')
  })
})

describe('without one', () => {
  const nowhere = 'server.listen = ["127.0.0.1:9", "unix:/nowhere/s"]'

  test('everybody is asked from here, and that is said', async () => {
    const { asked, program } = alone('process 1 on tent')
    const file = await t.write('c.toml', nowhere)
    expect(await t.run(['explain', path, '--config', file, '--store', '/s'], program)).toBe(1)
    expect(asked).toEqual([hash])
    expect(t.out()).toContain(
      `/nix/store/${hash}\n\nA client is told that there is no such path: there is nobody to ask.`,
    )
    expect(t.err()).toBe(
      'No proxy runs at 127.0.0.1:9 or unix:/nowhere/s: everybody is asked from here.\n' +
        'The store in /s is that of process 1 on tent; its files were only read.\n',
    )
  })

  test('what is no store path is refused before anybody is asked', async () => {
    const { asked, program } = alone()
    const file = await t.write('c.toml', nowhere)
    expect(await t.run(['explain', path, '/tmp/x', '--config', file], program)).toBe(2)
    expect(t.err()).toContain('"/tmp/x" is not a store path in /nix/store, or its hash')
    expect(asked).toEqual([])
    expect(await t.run(['explain'], program)).toBe(2)
  })
})
