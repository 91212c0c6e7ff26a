// A configuration file: it becomes a frozen Config, or every complaint about it names the file.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { parseConfig } from '../../src/config.ts'
import { ProxyError } from '../../src/errors.ts'
import { pure } from './target.ts'

const example = readFileSync(join(import.meta.dirname, '../../substrata.example.toml'), 'utf8')

const small = `[server]
listen = ["127.0.0.1:0"]
deadline = "8s"
[server.uploads]
addresses = ["10.0.0.0/8", "::1"]
[store]
path = "./store"
max_size = "200GiB"
[[strata]]
name = "event"
peers = true
hedge = "150ms"
upstreams = [{ url = "http://10.69.1.1:8501", low_speed = "1KiB" }]
[[strata]]
name = "internet"
[[strata.upstreams]]
url = "https://cache.nixos.org"
[[peers]]
id = "a"
urls = ["http://[fe80::1%25wlan0]:8501"]
[trust]
keys = ["cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=", "./keys"]
[log]
level = "debug"
`

export const toml = pure({
  name: 'toml',
  samples: [small, example, example.replaceAll(/^# (?=[a-z_[])/gm, '')],
  words: [
    '[server]\n',
    '[[strata]]\n',
    '[store',
    '.',
    '=',
    '[',
    ']',
    '{',
    '}',
    '"""',
    "'''",
    '"',
    "'",
    '#',
    ',',
    'true',
    'nan',
    'inf',
    '1979-05-27T07:32:00Z',
    '07:32:00',
    '0x1f',
    '1_000',
    '-0.0',
    '"8s"',
    '"5GiB"',
    '__proto__',
    'constructor',
    'toString',
    '\\u0000',
    'http://',
    'https://user:pw@x/',
    '[::1]',
    '%25',
    'unix:',
    '/nix/store',
    '[__proto__]\n',
    '\\uD800',
    '\\"',
  ],
  check: (input) => {
    try {
      const config = parseConfig(input.toString(), '/etc/fuzz.toml')
      assert(Object.isFrozen(config) && config.strata.every((stratum) => Object.isFrozen(stratum)))
      return `taken: ${config.strata.length} strata, ${config.peers.length} peers, ${config.trust.keys.length} keys`
    } catch (error) {
      assert(error instanceof ProxyError && error.code === 'bad-config', error as Error)
      const lines = error.message.split('\n')
      for (const line of lines) assert.match(line, /^\/etc\/fuzz\.toml[: ]/)
      return (lines[0] ?? '').replaceAll(/"(?:[^"\\]|\\.)*"|\d+/g, '').slice(0, 60)
    }
  },
})
