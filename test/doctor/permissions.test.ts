// Promise: what serve could not write, and what others could read, is found without writing anything.

import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterEach, beforeEach, expect, test } from 'vitest'

import { judgePermissions, nearestDirectory } from '../../src/doctor/permissions.ts'

let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'substrata-doctor-'))
})
afterEach(async () => {
  await rm(root, { recursive: true })
})

test('a directory of our own is right, and one that is not there will be made', async () => {
  await mkdir(join(root, 'v1'))
  expect(await judgePermissions(root)).toEqual([{ level: 'ok', about: 'store', says: `${root} can be written` }])
  const deep = join(root, 'a', 'b')
  expect(await nearestDirectory(deep)).toBe(root)
  expect(await judgePermissions(deep)).toEqual([{ level: 'ok', about: 'store', says: `${deep} will be made` }])
  expect(await readdir(root)).toEqual(['v1'])
})

test('a secret key that others may read is warned of', async () => {
  const key = join(root, 'identity')
  await writeFile(key, 'secret', { mode: 0o600 })
  expect((await judgePermissions(root)).map(({ level }) => level)).toEqual(['ok'])
  await chmod(key, 0o640)
  expect(await judgePermissions(root)).toMatchObject([{ level: 'warning', do: `chmod 600 ${key}` }])
})

test('a file in the place of the directory is a problem', async () => {
  const file = join(root, 'file')
  await writeFile(file, '')
  expect((await judgePermissions(join(file, 'store')))[0]).toMatchObject({ level: 'problem' })
})

test('what this user may not write is a problem, whether it is there or to be made', async () => {
  await mkdir(join(root, 'v1', 'nar'), { recursive: true })
  // As access(2) would say to somebody who is not root.
  const closedTo = (closed: RegExp) => async (path: string) => {
    if (closed.test(path)) throw Object.assign(new Error('EACCES'), { code: 'EACCES' })
  }
  expect(await judgePermissions(root, closedTo(/nar$/))).toMatchObject([
    { level: 'problem', says: `${join(root, 'v1', 'nar')} cannot be written by this user`, do: expect.any(String) },
  ])
  expect(await judgePermissions(root, closedTo(/./))).toMatchObject([
    { level: 'problem', says: `${root} cannot be written by this user (nor 2 more)` },
  ])
  expect(await judgePermissions(join(root, 'store'), closedTo(/./))).toMatchObject([
    { level: 'problem', says: expect.stringContaining(`may not make it in ${root}`) },
  ])
})
