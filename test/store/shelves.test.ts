// Where NARs are put.

import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { expect, onTestFinished, test } from 'vitest'

import { makeDirectory } from '../../src/store/durable.ts'
import { Layout } from '../../src/store/layout.ts'
import { Shelves } from '../../src/store/shelves.ts'

test('who finds a directory made that is not yet on the disk waits with who made it (case 121)', async () => {
  const root = await mkdtemp(join(tmpdir(), 'substrata-shelves-'))
  onTestFinished(() => rm(root, { recursive: true, force: true }))
  const layout = new Layout({ root })
  await makeDirectory(layout.nars)
  const shelves = new Shelves({ layout })

  const [first, second, other] = ['ab1', 'ab2', 'cd1'].map((name) => shelves.makeShard(name))

  expect(second).toBe(first)
  expect(other).not.toBe(first)
  await Promise.all([first, other])
  expect((await readdir(layout.nars)).sort()).toEqual(['ab', 'cd'])
  await expect(shelves.makeShard('ab3')).resolves.toBeUndefined()
})
