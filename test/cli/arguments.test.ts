// Promise: a command line means exactly one thing, or is refused with what was probably meant.

import { describe, expect, test } from 'vitest'

import { commandNames, parseArguments, WrongUse } from '../../src/cli/arguments.ts'
import { nixosKey } from '../../src/config-schema.ts'

const parse = (line: string) => parseArguments(line === '' ? [] : line.split(' '))

function refusalOf(...words: string[]): string {
  try {
    parseArguments(words)
    return 'nothing was wrong'
  } catch (error) {
    if (error instanceof WrongUse) return error.message
    throw error
  }
}

describe('parseArguments', () => {
  test('without a command it serves', () => {
    expect(parse('')).toMatchObject({ command: 'serve', help: undefined, version: false, operands: [] })
    expect(parse('--listen 127.0.0.1:0')).toMatchObject({ command: 'serve', flags: { listen: ['127.0.0.1:0'] } })
  })

  test('every flag of serve arrives in the units of the configuration', () => {
    const words = `serve --config c.toml --listen 127.0.0.1:1 --listen [::1]:2 --store /s --upstream http://a --upstream=https://b/x
      --trusted-key ${nixosKey} --max-size 200GiB --log-level debug`
    expect(parse(words.replaceAll(/\s+/g, ' ')).flags).toEqual({
      config: 'c.toml',
      listen: ['127.0.0.1:1', '[::1]:2'],
      store: '/s',
      upstreams: ['http://a/', 'https://b/x/'],
      trustedKeys: [nixosKey],
      maxSize: 200 * 2 ** 30,
      logLevel: 'debug',
    })
  })

  test('paths and flags of pin stand in any order, and after -- everything is a path', () => {
    expect(parse('pin /nix/store/a --store /s /nix/store/b -- --c')).toMatchObject({
      command: 'pin',
      flags: { store: '/s' },
      operands: ['/nix/store/a', '/nix/store/b', '--c'],
    })
  })

  test('help and version go before everything else', () => {
    expect(parse('--help')).toMatchObject({ help: 'all' })
    expect(parse('verify --help')).toMatchObject({ command: 'verify', help: 'command' })
    expect(parse('pin --help')).toMatchObject({ command: 'pin', help: 'command' })
    expect(parse('--version')).toMatchObject({ help: undefined, version: true })
    expect(parse('serve --max-size nonsense --help')).toMatchObject({ help: 'command' })
  })

  test.each(commandNames)('%s takes --config', (command) => {
    const paths = ['explain', 'pin', 'unpin'].includes(command) ? ['/nix/store/a'] : []
    expect(parseArguments([command, '--config', 'c.toml', ...paths]).flags.config).toBe('c.toml')
  })
})

describe('what is refused', () => {
  test.each([
    [['server'], 'there is no command server; did you mean serve?'],
    [['frobnicate'], 'there is no command frobnicate'],
    [['--lisen', 'x'], 'serve has no --lisen; did you mean --listen?'],
    [['--trusted-keys=x'], 'serve has no --trusted-keys; did you mean --trusted-key?'],
    [['serve', '-h'], 'serve has no -h; did you mean --help?'],
    [['serve', '-V'], 'serve has no -V; did you mean --version?'],
    [['verify', '--listen', 'x'], 'verify has no --listen; it belongs to serve'],
    [['serve', '--frobnicate'], 'serve has no --frobnicate'],
    [
      ['check-config', '--store', '/s'],
      'check-config has no --store; it belongs to serve, explain, doctor, verify, pin, unpin, list, rebuild',
    ],
    [['--listen'], '--listen needs a value'],
    [['--listen', '--store', '/s'], '--listen needs a value'],
    [['--store='], '--store needs a value'],
    [['--store', '/a', '--store', '/b'], '--store stands there twice'],
    [['--config', 'a', '--config=b'], '--config stands there twice'],
    [['serve', 'now'], 'serve takes no "now"; flags begin with --'],
    [['pin'], 'pin what? Name at least one store path'],
    [['--max-size', '200'], '--max-size: 200 has no unit; write "200GiB" or "200MB"'],
    [['--max-size', '0GB'], '--max-size: must be more than nothing'],
    [['--listen', '8501'], '--listen: "8501" names no address; write "127.0.0.1:8501"'],
    [['--upstream', 'cache.nixos.org'], '--upstream: "cache.nixos.org" is not the URL of an HTTP binary cache'],
    [['--trusted-key', '/etc/keys'], '--trusted-key: '],
    [['--log-level', 'loud'], '--log-level: "loud" is none of error, warn, info, debug'],
    [['--store', '~/x'], '--store: "~/x": "~" is not expanded here'],
  ])('%j', (words, refusal) => {
    expect(refusalOf(...words)).toContain(refusal)
  })

  test('a password in --upstream is not repeated', () => {
    expect(refusalOf('--upstream', 'https://me:hunter2@a')).toContain('holds a login or password')
    expect(refusalOf('--upstream', 'https://me:hunter2@a')).not.toContain('hunter2')
  })
})
