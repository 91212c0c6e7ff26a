// Promise: every file that the configuration names is read at start; what is wrong in them is named at once, and no secret is.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { parseConfig } from '../src/config.ts'
import { readCredentials, type Credentials } from '../src/credentials.ts'
import { makeSecretKey, printPublicKey } from '../src/nix/signature.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'substrata-credentials-'))
})
afterEach(() => rm(directory, { recursive: true }))

const write = (name: string, text: string, mode = 0o600) => writeFile(join(directory, name), text, { mode })
const read = (toml: string): Promise<Credentials> => readCredentials(parseConfig(toml, join(directory, 'config.toml')))
const upstream = (rest: string, url = 'https://cache.example.org') =>
  `strata = [{ name = "a", upstreams = [{ url = "${url}", name = "u", ${rest} }] }]`

async function mistakes(toml: string): Promise<string[]> {
  const error: unknown = await read(toml).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toMatchObject({ name: 'ProxyError', code: 'bad-config' })
  return (error as Error).message.replaceAll(`${directory}/`, '').split('\n')
}

describe('trusted keys', () => {
  const one = printPublicKey(makeSecretKey('one'))
  const two = printPublicKey(makeSecretKey('two'))
  const otherOne = printPublicKey(makeSecretKey('one'))

  test('come from the file and from files of keys, each once', async () => {
    await write('keys', `\uFEFF# ours\r\n${one}\r\n\r\n  ${two} ${one}\n`, 0o644)
    const { keys, warnings } = await read(`trust.keys = ["${one}", "./keys"]`)
    expect(keys.map(({ name }) => name)).toEqual(['one', 'two'])
    expect(warnings).toEqual([])
  })

  test('without padding are taken (case 142)', async () => {
    await write('keys', one.replace(/=+$/, ''))
    const { keys } = await read(`trust.keys = ["./keys", "${two.replace(/=+$/, '')}"]`)
    expect(keys.map(({ name }) => name)).toEqual(['one', 'two'])
  })

  test('of one name with different values are refused (case 142)', async () => {
    await write('keys', `${two}\n${otherOne}`)
    expect(await mistakes(`trust.keys = ["${one}", "./keys"]`)).toEqual([
      'trust.keys[1]: keys: line 2: another key is called one already',
    ])
    expect(await mistakes(`trust.keys = ["${one}", "${otherOne}"]`)).toEqual([
      'trust.keys[1]: another key is called one already',
    ])
  })

  test('that are none are named by line, all of them (case 142)', async () => {
    await write('keys', `# ours\none:AAAA\n${two}\nnothing\n`)
    const lines = await mistakes('trust.keys = ["./keys"]')
    expect(lines).toHaveLength(2)
    expect(lines[0]).toMatch(/^trust\.keys\[0\]: keys: line 2: ./)
    expect(lines[1]).toMatch(/^trust\.keys\[0\]: keys: line 4: ./)
  })

  test('are never none because a file has none (case 142)', async () => {
    await write('keys', '# one day\n')
    expect(await mistakes('trust.keys = ["./keys"]')).toEqual(['trust.keys[0]: keys: holds no key'])
    expect(await mistakes('trust.keys = ["./no"]')).toEqual(['trust.keys[0]: no: there is no such file'])
    expect(await mistakes('trust.keys = ["./"]')).toEqual([`trust.keys[0]: ${directory}: is a directory`])
  })

  test('may be none when the operator says so (case 143)', async () => {
    expect((await read('trust = { keys = [], allow_unsigned = true }')).keys).toEqual([])
  })
})

describe('upstreams', () => {
  test('are sent the headers of a file and the login of a netrc file', async () => {
    await write('headers', '# for them\nX-Token: a b: c  \nx-empty-not:1\n')
    await write('netrc', 'machine other login x password y\nmachine cache.example.org login me password s:1')
    const { headers } = await read(upstream('headers = "headers", netrc = "netrc"'))
    expect(headers.get('u')).toEqual({
      'x-token': 'a b: c',
      'x-empty-not': '1',
      authorization: `Basic ${Buffer.from('me:s:1').toString('base64')}`,
    })
  })

  test('without files are sent nothing more', async () => {
    expect((await read(upstream(''))).headers.get('u')).toEqual({})
    expect([...(await read('')).headers]).toEqual([['cache.nixos.org', {}]])
  })

  test('on a link-local address are looked up without its interface', async () => {
    await write('netrc', 'machine fe80::1 login me password s')
    const { headers } = await read(upstream('netrc = "netrc"', 'http://[fe80::1%25eth0]:8501'))
    expect(headers.get('u')).toHaveProperty('authorization')
  })

  test('get no header that is ours to set, nor one twice, nor one that would split a request', async () => {
    await write('headers', 'Host: evil\nA: 1\na: hunter2\nnonsense hunter2\nB: hunter2\u0000\nC:\n')
    const key = 'strata[0].upstreams[0].headers: headers'
    expect(await mistakes(upstream('headers = "headers"'))).toEqual([
      `${key}: line 1: the header Host is ours to set`,
      `${key}: line 3: the header a stands there twice`,
      `${key}: line 4: is not like "Name: value"`,
      `${key}: line 5: is not like "Name: value"`,
      `${key}: line 6: is not like "Name: value"`,
    ])
  })

  test('with a netrc file that does not know them are a mistake', async () => {
    const key = 'strata[0].upstreams[0].netrc: netrc'
    await write('netrc', 'machine other login x password y')
    expect(await mistakes(upstream('netrc = "netrc"'))).toEqual([
      `${key}: holds no machine cache.example.org and no default`,
    ])
    await write('netrc', 'machine cache.example.org login x pasword hunter2')
    expect(await mistakes(upstream('netrc = "netrc"'))).toEqual([
      `${key}: line 1: expected machine, default, login or password; a password with a space in it needs quotes`,
    ])
    await rm(join(directory, 'netrc'))
    expect(await mistakes(upstream('netrc = "netrc"'))).toEqual([`${key}: there is no such file`])
  })

  test('cannot be given two logins', async () => {
    await write('headers', 'Authorization: Bearer x')
    await write('netrc', 'default login me password s')
    expect(await mistakes(upstream('headers = "headers", netrc = "netrc"'))).toEqual([
      'strata[0].upstreams[0].netrc: netrc: the headers file has an Authorization already',
    ])
  })
})

describe('uploaders', () => {
  test('are login:password lines', async () => {
    await write('uploaders', '# ours\nbob:a:b\n\nalice:#1 \n')
    const { uploaders } = await read('server.uploads = "uploaders"')
    expect([...uploaders]).toEqual([
      ['bob', 'a:b'],
      ['alice', '#1'],
    ])
    expect((await read('server.uploads = ["192.0.2.0/24"]')).uploaders.size).toBe(0)
  })

  test('that are none are named by line, without their password', async () => {
    await write('uploaders', 'hunter2\nbob:1\nbob:hunter2\nempty:\n')
    expect(await mistakes('server.uploads = "uploaders"')).toEqual([
      'server.uploads: uploaders: line 1: is not like "login:password"',
      'server.uploads: uploaders: line 3: the login bob stands there twice',
      'server.uploads: uploaders: line 4: is not like "login:password"',
    ])
    await write('uploaders', '\n')
    expect(await mistakes('server.uploads = "uploaders"')).toEqual([
      'server.uploads: uploaders: holds no login:password line',
    ])
  })
})

test('mistakes in all files are named at once', async () => {
  await write('keys', 'x')
  const toml = `server.uploads = "no"\ntrust.keys = ["./keys", "./no"]\n${upstream('headers = "no", netrc = "no"')}`
  const keys = (await mistakes(toml)).map((line) => line.split(': ', 1)[0])
  expect(keys).toEqual([
    'trust.keys[0]',
    'trust.keys[1]',
    'strata[0].upstreams[0].headers',
    'strata[0].upstreams[0].netrc',
    'server.uploads',
  ])
})

test('secrets that everybody may read are warned about', async () => {
  await write('uploaders', 'bob:secret', 0o644)
  await write('netrc', 'default login me password s', 0o640)
  await write('headers', 'A: b', 0o604)
  const { warnings } = await read(`server.uploads = "uploaders"\n${upstream('headers = "headers", netrc = "netrc"')}`)
  expect(warnings).toEqual([
    `strata[0].upstreams[0].headers: ${directory}/headers can be read by everybody on this machine; chmod 600 it`,
    `server.uploads: ${directory}/uploaders can be read by everybody on this machine; chmod 600 it`,
  ])
})
