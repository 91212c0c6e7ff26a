// One process owns a store, as long as it lives and no longer.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import { holds, put, storeFixture } from './store-fixture.ts'

test('a second store in the same directory does not start, and says who has it (case 123)', async () => {
  const fixture = await storeFixture()
  const store = await fixture.open()
  const hello = fixture.add()
  await put(store, hello)

  const second = fixture.open()

  await expect(second).rejects.toMatchObject({ code: 'store-failed' })
  await expect(second).rejects.toThrow(fixture.root)
  await expect(second).rejects.toThrow(new RegExp(`process ${process.pid} on `))
  // The first has not noticed.
  await put(store, fixture.add())
  expect(await holds(store, hello)).toBe(true)
  await expect(fixture.open()).rejects.toMatchObject({ code: 'store-failed' })

  await store.close()
  expect(await holds(await fixture.open(), hello)).toBe(true)
})

test('the store of a process that was killed is free at once (case 123)', async () => {
  const fixture = await storeFixture()
  const hello = fixture.add()
  const store = await fixture.open()
  await put(store, hello)
  await store.close()
  // Takes the lock as we do, in another process, and sits on it.
  const sqlite = new URL('../../src/store/sqlite.js', import.meta.url).href
  const script = `
    const { Sqlite } = await import(${JSON.stringify(sqlite)})
    const database = new Sqlite(process.argv[1] + '/lock.sqlite')
    database.exec('BEGIN EXCLUSIVE')
    const { writeFileSync } = await import('node:fs')
    writeFileSync(process.argv[1] + '/owner', 'process ' + process.pid + ' on elsewhere')
    process.stdout.write('locked')
    setInterval(() => {}, 1000)`
  const other = spawn(process.execPath, ['--input-type=module', '-e', script, join(fixture.root, 'v1')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(other.stdout, 'data')

  await expect(fixture.open()).rejects.toThrow(`in use by process ${other.pid} on elsewhere`)
  other.kill('SIGKILL')
  await once(other, 'exit')

  expect(await holds(await fixture.open(), hello)).toBe(true)
  expect(await readFile(join(fixture.root, 'v1', 'owner'), 'utf8')).toContain(`process ${process.pid} on `)
})
