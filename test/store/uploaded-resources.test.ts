// Uploaded logs and listings: whole, or as they were before.

import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterEach, beforeEach, expect, test } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import { UploadedResources } from '../../src/store/uploaded-resources.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'substrata-resources-'))
})
afterEach(() => rm(directory, { recursive: true }))

async function* body(...texts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield await Promise.resolve(Buffer.from(text))
}

test('what was put is got, by its very path', async () => {
  const resources = new UploadedResources({ directory: join(directory, 'made', 'later') })
  await resources.put('log/a.drv', body('one ', 'log'))
  expect((await resources.get('log/a.drv'))?.toString()).toBe('one log')
  expect(await resources.get('log/b.drv')).toBeUndefined()
})

test('a body that breaks leaves what was there', async () => {
  const resources = new UploadedResources({ directory })
  await resources.put('x.ls', body('old'))
  const broken = async function* (): AsyncGenerator<Uint8Array> {
    yield* body('ne')
    throw new ProxyError('aborted', 'the client hung up')
  }
  await expect(resources.put('x.ls', broken())).rejects.toMatchObject({ code: 'aborted' })
  expect((await resources.get('x.ls'))?.toString()).toBe('old')
  const files = (await readdir(directory, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
  expect(files.length).toBe(1)
})

test('a disk that takes nothing is said so', async () => {
  const resources = new UploadedResources({ directory: '/dev/null/nowhere' })
  await expect(resources.put('x.ls', body('x'))).rejects.toMatchObject({ code: 'store-failed' })
})
