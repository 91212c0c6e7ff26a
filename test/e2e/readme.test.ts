// The two commands that README.md gives to people who have just cloned the repository, as they stand there.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { expect, onTestFinished, test } from 'vitest'

import { finish, type Finished } from './support/client.ts'
import { forSystemClient } from './support/clients.ts'
import { Origin } from './support/origin.ts'
import { hear, listening, repository } from './support/proxy.ts'
import { tempDir } from './support/temp-dir.ts'

forSystemClient(({ fixture, machine }) => {
  test('npm start -- with an address, a store, an upstream and a key serves a real client', async () => {
    const origin = await Origin.start({ dir: fixture.caches.xz })
    const store = join(await tempDir(), 'store')
    const flags = ['--listen', '127.0.0.1:0', '--store', store, '--upstream', origin.url, '--trusted-key', fixture.key]
    // In a process group of its own: npm starts the program as a child's child.
    const child = spawn('npm', ['start', '--', ...flags], { cwd: repository, detached: true })
    onTestFinished(async () => {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
      const exit = once(child, 'exit')
      process.kill(-child.pid, 'SIGKILL')
      await exit
    })
    const url = await listening(child, hear(child))

    const client = await machine()
    await client.realise(fixture.top, { from: url, key: fixture.key })
    expect((await client.verified(fixture.key)).size).toBe(20)

    const exit = once(child, 'exit')
    process.kill(-(child.pid ?? Number.NaN), 'SIGTERM')
    await exit
    await expect(fetch(`${url}/nix-cache-info`)).rejects.toThrow()
  })
})

/** Text between ``` lines of README.md that open with this word. */
async function blocks(language: string): Promise<readonly string[]> {
  const readme = await readFile(join(repository, 'README.md'), 'utf8')
  return [...readme.matchAll(/^```(\w*)\n(.*?)^```$/gms)].flatMap(([, word, text = '']) =>
    word === language ? [text] : [],
  )
}

function substrata(...args: readonly string[]): Promise<Finished> {
  return finish(process.execPath, [join(repository, 'dist', 'main.js'), ...args], { PATH: process.env['PATH'] })
}

test('README.md gives the two commands: one that starts it, one that tests it', async () => {
  const shell = (await blocks('sh')).join('')
  expect(shell).toMatch(/^npm ci && npm start\b/m)
  expect(shell).toMatch(/^npm ci && npm test\b/m)
})

test('every flag in the commands of README.md is one that the program explains', async () => {
  const shell = (await blocks('sh')).join('').replaceAll('\\\n', ' ')
  const commands = [...shell.matchAll(/^(?:npm start --|node dist\/main\.js) (\S+)(.*)$/gm)]
  expect(commands.length).toBeGreaterThan(1)
  for (const [line, command = '', rest = ''] of commands) {
    const { code, stdout } = await substrata(...(command.startsWith('-') ? [] : [command]), '--help')
    expect([line, code]).toEqual([line, 0])
    for (const [flag] of `${command} ${rest}`.matchAll(/(?<= |^)--[a-z-]+/g)) expect(`${stdout} --help`).toContain(flag)
  }
})

test('the configuration that README.md shows is one that the program takes', async () => {
  const dir = await tempDir()
  const [text = ''] = await blocks('toml')
  await writeFile(join(dir, 'substrata.toml'), text)
  // The file of keys that it names.
  await writeFile(join(dir, 'keys'), 'cache.example.org-1:yBRJXCZEnYNPDdMLoTrpid94eRe+70h7FegDB1VPUmQ=\n')
  const { code, stderr } = await substrata('check-config', '--config', join(dir, 'substrata.toml'))
  expect([code, stderr]).toEqual([0, ''])
})
