// The catalogue's log is moved into its file by another thread, and nothing depends on it.

import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { expect, onTestFinished, test, vi } from 'vitest'

import { Catalogue } from '../../src/store/catalogue.ts'
import { Checkpointer } from '../../src/store/checkpointer.ts'
import { storeHash } from '../support/substituter-conformance.ts'

async function catalogueIn(name: string): Promise<{ path: string; catalogue: Catalogue; checkpointer: Checkpointer }> {
  const dir = await mkdtemp(join(tmpdir(), 'substrata-checkpointer-'))
  const path = join(dir, name)
  const catalogue = Catalogue.open(path)!
  const checkpointer = new Checkpointer({ path })
  onTestFinished(async () => {
    await checkpointer.close()
    catalogue.close()
    await rm(dir, { recursive: true })
  })
  return { path, catalogue, checkpointer }
}

test('what was written reaches the file while it stays open', async () => {
  const { path, catalogue, checkpointer } = await catalogueIn('catalogue.sqlite')
  const before = (await stat(path)).size

  for (let number = 0; number < 100; number++) {
    catalogue.setMark(storeHash(String(number).padStart(32, '0')), 1)
    checkpointer.changed()
  }

  await vi.waitFor(async () => expect((await stat(path)).size).toBeGreaterThan(before), { timeout: 15_000 })
  expect(catalogue.mark(storeHash('0'.repeat(32)))).toBe(1)
})
