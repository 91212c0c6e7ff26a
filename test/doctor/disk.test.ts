// Promise: a disk that is too full or too small for its configuration is found before it stops the store.

import { expect, test } from 'vitest'

import { judgeDisk } from '../../src/doctor/disk.ts'

const directory = import.meta.dirname

test('one with room is fit', async () => {
  const findings = await judgeDisk({ directory, minFree: 1, maxSize: 1 })
  expect(findings.filter(({ level }) => level === 'problem')).toEqual([])
  expect(findings[0]?.about).toBe('disk')
})

test('less free than min_free is a problem', async () => {
  const [finding] = await judgeDisk({ directory, minFree: 2 ** 60, maxSize: undefined })
  expect(finding).toMatchObject({ level: 'problem', says: expect.stringContaining('less than store.min_free') })
})

test('a max_size beyond the whole disk is warned of', async () => {
  const findings = await judgeDisk({ directory, minFree: 0, maxSize: 2 ** 60 })
  expect(findings).toContainEqual(
    expect.objectContaining({ level: 'warning', says: expect.stringContaining('more than the whole of it') }),
  )
})

test('what is nowhere cannot be judged', async () => {
  await expect(judgeDisk({ directory: '/nowhere', minFree: 0, maxSize: undefined })).rejects.toThrow('ENOENT')
})
