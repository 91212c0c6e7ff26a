// Promise: a node is the same after a restart, and its secret is its own.

import { createPublicKey, verify } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterEach, beforeEach, expect, test } from 'vitest'

import { loadIdentity } from '../src/identity.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'substrata-identity-'))
})
afterEach(() => rm(directory, { recursive: true }))

test('a node without a key makes one, and is the same node afterwards', async () => {
  const file = join(directory, 'state', 'identity')
  const first = await loadIdentity(file)
  const again = await loadIdentity(file)
  expect(first.id).toMatch(/^[0-9a-df-np-sv-z]{52}$/)
  expect(again.id).toBe(first.id)
  expect(again.publicKey).toEqual(first.publicKey)
  const other = await loadIdentity(join(directory, 'other'))
  expect(other.id).not.toBe(first.id)
})

test('its key and the directory made for it are for its user alone', async () => {
  const file = join(directory, 'state', 'identity')
  await loadIdentity(file)
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  expect((await stat(join(directory, 'state'))).mode & 0o777).toBe(0o700)
  expect(await readdir(join(directory, 'state'))).toEqual(['identity'])
  expect(await readFile(file, 'utf8')).toMatch(/^substrata-identity-1:[\w+/]{86}==\n$/)
})

test('what it signs is verified by its public key', async () => {
  const identity = await loadIdentity(join(directory, 'identity'))
  const message = Buffer.from('here I am')
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(identity.publicKey).toString('base64url') }
  const key = createPublicKey({ format: 'jwk', key: jwk })
  expect(verify(null, message, key, identity.sign(message))).toBe(true)
  expect(verify(null, Buffer.from('here I was'), key, identity.sign(message))).toBe(false)
})

test('a damaged key is refused, not replaced, and not shown', async () => {
  const file = join(directory, 'identity')
  await loadIdentity(file)
  const half = (await readFile(file, 'utf8')).slice(0, 60)
  await writeFile(file, half)
  const attempt = loadIdentity(file)
  await expect(attempt).rejects.toMatchObject({ code: 'bad-config' })
  await expect(attempt).rejects.toThrow(`identity ${file}: secret key`)
  await expect(attempt).rejects.not.toThrow(half.slice(30))
  expect(await readFile(file, 'utf8')).toBe(half)
})

test('a place where no key can be written is said', async () => {
  await writeFile(join(directory, 'file'), '')
  await expect(loadIdentity(join(directory, 'file', 'identity'))).rejects.toMatchObject({ code: 'store-failed' })
})
