// Promise: a netrc file that curl and Nix understand means the same here, and a password never reaches a complaint.

import { describe, expect, test } from 'vitest'

import { netrcEntry, parseNetrc } from '../src/netrc.ts'

const entry = (machine: string | undefined, login: string, password: string) => ({ machine, login, password })

describe('parseNetrc', () => {
  test('reads entries on one line and on several', () => {
    const text = 'machine a.example.org login me password secret\nmachine B.example.org\n\tlogin you\n  password #1\r\n'
    expect(parseNetrc(text)).toEqual([entry('a.example.org', 'me', 'secret'), entry('b.example.org', 'you', '#1')])
  })

  test('knows default, account, macros, comments and a byte order mark', () => {
    const text = `\uFEFF# mine
machine a login me account nobody password x
  # machine c login c password c
macdef init
machine b login no password no

default login anyone password thing`
    expect(parseNetrc(text)).toEqual([entry('a', 'me', 'x'), entry(undefined, 'anyone', 'thing')])
  })

  test('takes quoted words with escapes', () => {
    expect(parseNetrc(String.raw`machine a login "a b" password "say \"hi\"\t\\"`)).toEqual([
      entry('a', 'a b', 'say "hi"\t\\'),
    ])
  })

  test('an entry without login is one', () => {
    expect(parseNetrc('machine a password token')).toEqual([entry('a', '', 'token')])
    expect(parseNetrc('')).toEqual([])
  })

  test.each([
    ['machine a\nlogin', 'line 2: "login" has no value'],
    ['machine', 'line 1: "machine" has no value'],
    ['\nlogin me', 'line 2: "login" stands before any machine'],
    ['machine a login me password hunter2 with spaces', 'line 1: expected machine, default, login or password'],
    ['machine a password "hunter2', 'line 1: a quote is not closed'],
    ['machine a password "hunter2"x', 'line 1: a quote is not closed, or something follows it without a space'],
  ])('%j is refused', (text, complaint) => {
    expect(() => parseNetrc(text)).toThrow(complaint)
    expect(() => parseNetrc(text)).not.toThrow('hunter2')
  })
})

test('the first entry that fits is taken, and default fits every host', () => {
  const entries = parseNetrc('machine a login 1 machine a login 2 default login 3 machine b login 4')
  expect(['a', 'A', 'b', 'c'].map((host) => netrcEntry(entries, host)?.login)).toEqual(['1', '1', '3', '3'])
  expect(netrcEntry(parseNetrc('machine a login 1'), 'b')).toBeUndefined()
})
