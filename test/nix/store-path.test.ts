import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { isBaseName, isStoreHash, parseStorePath } from '../../src/nix/store-path.ts'

const hash = 'sp69qifh9883ihs597ic0b4l257lv18n'
const nameLetters = fc.constantFrom(...'0123456789abcdefghijklmnopqrstuvwxyzABCXYZ+-_?='.split(''))

describe('a store hash', () => {
  it('is 32 letters of nix32', () => {
    expect(isStoreHash(hash)).toBe(true)
  })

  it.each([hash.slice(1), `${hash}0`, hash.toUpperCase(), `e${hash.slice(1)}`, `${hash}\n`, '', `../${hash.slice(3)}`])(
    'is not %j (case 8)',
    (text) => {
      expect(isStoreHash(text)).toBe(false)
    },
  )
})

describe('a store path', () => {
  it('is read into its parts', () => {
    expect(parseStorePath(`/nix/store/${hash}-demo-2`, '/nix/store')).toEqual({
      path: `/nix/store/${hash}-demo-2`,
      dir: '/nix/store',
      hash,
      name: 'demo-2',
    })
  })

  it('is made of its parts again', () => {
    fc.assert(
      fc.property(fc.string({ unit: nameLetters, minLength: 1, maxLength: 211 }), (name) => {
        const path = parseStorePath(`/nix/store/${hash}-${name}`, '/nix/store')
        expect(path && `${path.dir}/${path.hash}-${path.name}`).toBe(`/nix/store/${hash}-${name}`)
      }),
    )
  })

  it('may lie in another store directory when that is the one that was asked for', () => {
    expect(parseStorePath(`/home/me/store/${hash}-x`, '/home/me/store')?.name).toBe('x')
  })

  it.each([
    `/gnu/store/${hash}-x`,
    `/nix/store2/${hash}-x`,
    `/nix/store//${hash}-x`,
    `/nix/store-${hash}-x`,
    `/nix/store/${hash}_x`,
    `/nix/store${hash}-x`,
    `nix/store/${hash}-x`,
    `${hash}-x`,
    `/nix/store/../store/${hash}-x`,
    `/nix/store/${hash}-x/bin`,
    `/nix/store/${hash}`,
    `/nix/store/${hash}-`,
    `/nix/store/`,
    '/nix/store',
    '',
  ])('is not %j (case 20)', (text) => {
    expect(parseStorePath(text, '/nix/store')).toBeUndefined()
  })
})

describe('a base name', () => {
  it.each(['x', 'a'.repeat(211), '.config', '...', '..a', '.a-b', '-x', '0+-._?=Z', 'x.drv'])(
    'may have the name %j',
    (name) => {
      expect(isBaseName(`${hash}-${name}`)).toBe(true)
    },
  )

  it.each([
    '',
    'a'.repeat(212),
    '.',
    '..',
    '.-x',
    '..-x',
    'a/b',
    'a b',
    'ä',
    'a\n',
    'a\u0000',
    '~',
    'a%2f',
    'a:b',
    'a\\b',
  ])('may not have the name %j', (name) => {
    expect(isBaseName(`${hash}-${name}`)).toBe(false)
  })
})
