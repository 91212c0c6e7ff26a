// Promise: a file means exactly one thing; every mistake in it is named at once, by key, before anything is done.

import { readFileSync } from 'node:fs'

import * as fc from 'fast-check'
import { parse as parseToml } from 'smol-toml'
import { describe, expect, test } from 'vitest'

import { nixosKey, tables } from '../src/config-schema.ts'
import { defaultConfig, parseConfig, withOverrides } from '../src/config.ts'
import { ProxyError } from '../src/errors.ts'
import { makeSecretKey, printPublicKey } from '../src/nix/signature.ts'

const parse = (text: string) => parseConfig(text, '/etc/substrata/config.toml')
const ours = printPublicKey(makeSecretKey('ours-1'))

/** The complaints about a file, each without the file's name. */
function complaintsOf(text: string): string[] {
  try {
    parseConfig(text, 'config.toml')
  } catch (error) {
    if (!(error instanceof ProxyError) || error.code !== 'bad-config') throw error
    return error.message.split('\n').map((line) => line.replace(/^config\.toml: ?/, ''))
  }
  return []
}

describe('what a file means', () => {
  test('without a file cache.nixos.org and its key are used, on 127.0.0.1:8501', () => {
    const { server, store, trust, strata, peers, log } = defaultConfig()
    expect(server).toEqual({
      listen: ['127.0.0.1:8501'],
      priority: 30,
      storeDir: '/nix/store',
      unreachable: 'miss',
      deadline: 8000,
      shutdown: 30_000,
      lookAhead: false,
      explain: [],
      uploads: undefined,
    })
    expect(store).toEqual({ path: undefined, maxSize: undefined, minFree: 2 ** 30, memory: 64 * 2 ** 20 })
    expect(trust).toEqual({ keys: [nixosKey] })
    expect(peers).toEqual([])
    expect(log).toEqual({ level: 'info', format: 'text' })
    expect(strata).toEqual([
      {
        name: 'internet',
        peers: false,
        hedge: 400,
        upstreams: [
          {
            url: 'https://cache.nixos.org/',
            zone: undefined,
            name: 'cache.nixos.org',
            presence: 'stationary',
            headers: undefined,
            netrc: undefined,
            allowedHosts: [],
            connectTimeout: 3000,
            firstByteTimeout: 5000,
            lowSpeed: { bytesPerSecond: 1024, for: 20_000 },
            concurrency: 64,
            connections: 40,
            missTtl: 10_000,
          },
        ],
      },
    ])
  })

  test('units become milliseconds and bytes', () => {
    const config = parse(`
      [server]
      deadline = "2.5s"
      [store]
      max_size = "200GiB"
      min_free = "5GB"`)
    expect(config.server.deadline).toBe(2500)
    expect(config.store).toMatchObject({ maxSize: 200 * 2 ** 30, minFree: 5e9 })
  })

  test('paths are relative to the file that names them', () => {
    const config = parse(`
      server.uploads = "uploaders"
      store.path = "../cache"
      trust.keys = ["./keys", "/etc/keys"]
      [[strata]]
      name = "a"
      upstreams = [{ url = "http://a", netrc = "netrc", headers = "secrets/headers" }]`)
    expect(config.server.uploads).toEqual({ credentials: '/etc/substrata/uploaders', addresses: [], evict: false })
    expect(config.store.path).toBe('/etc/cache')
    expect(config.trust.keys).toEqual(['/etc/substrata/keys', '/etc/keys'])
    expect(config.strata[0]?.upstreams[0]).toMatchObject({
      netrc: '/etc/substrata/netrc',
      headers: '/etc/substrata/secrets/headers',
    })
  })

  test('uploads may be a file, a list of addresses, or a table of both', () => {
    const uploads = (written: string) => parse(`server.uploads = ${written}`).server.uploads
    expect(uploads('"/a"')).toEqual({ credentials: '/a', addresses: [], evict: false })
    expect(uploads('["192.0.2.0/24", "192.0.2.7", "2001:db8::1"]')).toEqual({
      credentials: undefined,
      addresses: ['192.0.2.0/24', '192.0.2.7/32', '2001:db8::1/128'],
      evict: false,
    })
    expect(uploads('{ credentials = "/a", addresses = ["10.0.0.0/8"], evict = true }')).toEqual({
      credentials: '/a',
      addresses: ['10.0.0.0/8'],
      evict: true,
    })
  })

  test('those who may ask why are addresses, too', () => {
    expect(parse('server.explain = ["10.0.0.0/8", "::1"]').server.explain).toEqual(['10.0.0.0/8', '::1/128'])
    expect(complaintsOf('server.explain = ["all"]')).toEqual([
      expect.stringContaining('server.explain[0]: "all" is not'),
    ])
  })

  test('a roaming upstream is not waited for as long, unless the file says so', () => {
    const config = parse(`
      [[strata]]
      name = "a"
      upstreams = [{ url = "http://a", presence = "roaming" }, { url = "http://b", presence = "roaming", connect_timeout = "2s" }]`)
    expect(config.strata[0]?.upstreams.map(({ connectTimeout }) => connectTimeout)).toEqual([800, 2000])
  })

  test('an upstream is named after its host, also when it is listed twice (case 108)', () => {
    const config = parse(`
      [[strata]]
      name = "a"
      upstreams = [{ url = "http://one:80/x" }, { url = "http://one" }, { url = "http://two:81", name = "one#2" }]
      [[strata]]
      name = "b"
      upstreams = [{ url = "http://one" }, { url = "http://two:81" }]`)
    const names = config.strata.map(({ upstreams }) => upstreams.map(({ name }) => name))
    expect(names).toEqual([
      ['one', 'one#3', 'one#2'],
      ['one#4', 'two:81'],
    ])
    expect(config.strata[0]?.upstreams[0]?.url).toBe('http://one/x/')
  })

  test('a link-local address names its interface (case 101)', () => {
    const upstreams = (url: string) =>
      parse(`strata = [{ name = "a", upstreams = [{ url = "${url}" }] }]`).strata[0]?.upstreams
    const expected = [{ url: 'http://[fe80::1]:8501/x/', zone: 'wlan0', name: '[fe80::1%wlan0]:8501' }]
    expect(upstreams('http://[fe80::1%25wlan0]:8501/x')).toMatchObject(expected)
    expect(upstreams('http://[FE80::1%wlan0]:8501/x/')).toMatchObject(expected)
  })

  test('peers need a stratum that they join', () => {
    const peers = `
      [[peers]]
      id = "bob"
      urls = ["http://192.0.2.7:8501", "http://[2001:db8::7]:8501"]`
    expect(complaintsOf(peers)).toEqual(['peers: would never be asked: no stratum has peers = true'])
    expect(parse(`strata = [{ name = "near", peers = true, hedge = "150ms" }]\n${peers}`).peers).toEqual([
      {
        id: 'bob',
        urls: ['http://192.0.2.7:8501/', 'http://[2001:db8::7]:8501/'],
        trust: 'transitive',
        presence: 'roaming',
      },
    ])
  })

  test('pass-through without keys is only there for who asks for it (case 143)', () => {
    expect(complaintsOf('trust.keys = []')).toEqual([
      'trust.keys: is empty, so nothing could be verified; name a key, or write allow_unsigned = true to pass everything through',
    ])
    expect(parse('trust = { keys = [], allow_unsigned = true }').trust.keys).toEqual([])
    expect(complaintsOf('trust.allow_unsigned = true')).toEqual([
      'trust.allow_unsigned: has no effect while there are keys; write keys = [] as well, or remove it',
    ])
  })

  test('nothing can be changed afterwards', () => {
    const config = parse('')
    const everything: unknown[] = [config]
    for (const value of everything) {
      if (typeof value !== 'object' || value === null) continue
      expect(value).toSatisfy(Object.isFrozen)
      everything.push(...Object.values(value))
    }
    expect(everything.length).toBeGreaterThan(30)
  })
})

describe('mistakes', () => {
  test('are all named at once, each with its key', () => {
    const complaints = complaintsOf(`
      [server]
      lisen = ["127.0.0.1:8501"]
      deadline = 8
      unreachable = "mis"
      max_size = "10GB"
      [store]
      max_size = 200
      [trust]
      keys = ["cache.nixos.org-1"]
      [[strata]]
      name = "near"
      hedge = "fast"
      [[strata]]
      name = "event"
      [[strata.upstreams]]
      url = "cache.nixos.org"
      first-byte-timeout = "5s"
      concurrency = 0
      [mehs]`)
    expect(complaints).toHaveLength(11)
    const all = complaints.join('\n')
    for (const complaint of [
      'server.lisen: there is no such key; did you mean listen?',
      'server.deadline: 8 has no unit; write "8s" or "8ms"',
      'server.unreachable: "mis" is not "miss" or "error"; did you mean "miss"?',
      'server.max_size: belongs into [store]',
      'store.max_size: 200 has no unit; write "200GiB" or "200MB"',
      'trust.keys[0]: ',
      'strata[0].hedge: "fast" is not understood; a duration is written like "150ms", "8s", "10m" or "2h"',
      'strata[1].upstreams[0].url: "cache.nixos.org" is not the URL of an HTTP binary cache; write "http://cache.nixos.org" or "https://cache.nixos.org"',
      'strata[1].upstreams[0].first-byte-timeout: there is no such key; did you mean first_byte_timeout?',
      'strata[1].upstreams[0].concurrency: 0 is too small: at least 1',
      'mehs: there is no such key; here may stand server, store, trust, strata, peers, log',
    ]) {
      expect(all).toContain(complaint)
    }
  })

  test.each([
    ['server.listen = "127.0.0.1:8501"', 'server.listen: expected a list in [ ], found "127.0.0.1:8501"'],
    ['server.listen = []', 'server.listen: is empty: nobody could ask'],
    ['server.listen = ["127.0.0.1"]', 'server.listen[0]: "127.0.0.1" has no port; write "127.0.0.1:8501"'],
    ['server.listen = ["8501"]', 'server.listen[0]: "8501" names no address; write "127.0.0.1:8501"'],
    ['server.listen = [":80"]', 'server.listen[0]: ":80" names no address; write "127.0.0.1:80"'],
    ['server.listen = ["::1"]', 'server.listen[0]: "::1" needs brackets and a port; write "[::1]:8501"'],
    ['server.listen = ["a:99999"]', 'server.listen[0]: "a:99999" has a port beyond 65535'],
    ['server.listen = ["1.2.3:80"]', 'server.listen[0]: "1.2.3:80" is not an address to listen on'],
    ['server.listen = ["[::g]:80"]', 'server.listen[0]: "[::g]:80" is not an address to listen on'],
    ['server.listen = ["http://a:80"]', 'server.listen[0]: "http://a:80" is not an address to listen on'],
    ['server.listen = ["unix:run/s"]', 'server.listen[0]: "unix:run/s" needs a whole path'],
    ['server.listen = [80]', 'server.listen[0]: expected an address like'],
    ['server.priority = 1.5', 'server.priority: expected a whole number, found 1.5'],
    ['server.priority = "30"', 'server.priority: expected a number, found "30"'],
    ['server.priority = -1', 'server.priority: -1 is too small: at least 0'],
    ['server.deadline = "0s"', 'server.deadline: "0s" must be more than nothing'],
    ['server.store_dir = "nix/store"', 'server.store_dir: "nix/store" is not a store directory like "/nix/store"'],
    ['server.store_dir = "/nix/store/"', 'server.store_dir: "/nix/store/" is not a store directory'],
    ['server.uploads = []', 'server.uploads: would let anybody upload; name a file of credentials, or addresses'],
    ['server.uploads = { evict = true }', 'server.uploads: would let anybody upload'],
    ['server.uploads = { adresses = [] }', 'server.uploads.adresses: there is no such key; did you mean addresses?'],
    ['server.uploads = ["192.0.2.0/33"]', 'server.uploads.addresses[0]: "192.0.2.0/33" is not a block of addresses'],
    ['server.uploads = ["lan"]', 'server.uploads.addresses[0]: "lan" is not a block of addresses'],
    ['store = "/var"', 'store: expected a table, found "/var"'],
    ['store.path = "~/cache"', 'store.path: "~/cache": "~" is not expanded here; write the whole path'],
    ['store.path = ""', 'store.path: is empty; it is a path like'],
    ['store.max_size = "0B"', 'store.max_size: "0B" must be more than nothing'],
    ['trust.keys = "a:b"', 'trust.keys: expected a list in [ ], found "a:b"'],
    ['trust.keys = ["a:b c:d"]', 'trust.keys[0]: holds white space; write each key as a text of its own'],
    ['trust.keys = ["a:b"]', 'trust.keys[0]: '],
    ['[strata]\nname = "a"', 'strata: is a list of tables: write [[ ]] around its name'],
    ['[[strata]]', 'strata[0].name: is missing; it is a name'],
    ['strata = [{ name = "a" }]', 'strata[0]: "a" has nobody to ask; give it upstreams, or peers = true'],
    ['strata = [{ name = "a b", peers = true }]', 'strata[0].name: "a b" is no name'],
    ['strata = [{ name = "store", peers = true }]', 'strata[0].name: "store" is the name of our own disk'],
    ['strata = [{ name = "a", peers = true }, { name = "a", peers = true }]', 'strata[1].name: "a" stands there twice'],
    [
      'strata = [{ name = "a", peers = true, hedge = "8s" }, { name = "b", peers = true }]',
      'strata: their hedges add up to 8s, so the last stratum would not be asked within server.deadline (8s)',
    ],
    ['peers = [{ id = "b" }]', 'peers[0].urls: is missing'],
    ['peers = [{ id = "b", urls = [] }]\nstrata = [{ name = "a", peers = true }]', 'peers[0].urls: is empty'],
    ['peers = [{ id = "b", urls = ["http://[fe80::1%25eth0]"] }]', 'names an interface; give a peer'],
    ['log.level = "trace"', 'log.level: "trace" is not "error" or "warn" or "info" or "debug"'],
    ['log.level = "dbug"', '; did you mean "debug"?'],
    ['"a b" = 1', '"a b": there is no such key'],
    ['__proto__ = 1', '__proto__: there is no such key'],
    ['hedge = "1s"', 'hedge: belongs into [[strata]]'],
  ])('%s', (text, complaint) => {
    const complaints = complaintsOf(text)
    expect(complaints).toHaveLength(1)
    expect(complaints[0]).toContain(complaint)
  })

  test.each([
    ['a', 'write "http://a" or "https://a"'],
    ['ftp://a', 'it begins with http:// or https://'],
    ['file:///nix/store', 'it begins with http:// or https://'],
    ['https://a?priority=10', 'ends in parameters; those are for nix.conf'],
    ['https://a#b', 'ends in parameters'],
  ])('an upstream cannot be %s', (url, complaint) => {
    const [first] = complaintsOf(`strata = [{ name = "a", upstreams = [{ url = ${JSON.stringify(url)} }] }]`)
    expect(first).toContain('strata[0].upstreams[0].url: ')
    expect(first).toContain(complaint)
  })

  test('a password in a URL is refused without being repeated', () => {
    const [first] = complaintsOf(
      'strata = [{ name = "a", upstreams = [{ url = "https://me:hunter2@cache.example.org" }] }]',
    )
    expect(first).toContain('strata[0].upstreams[0].url: holds a login or password; put them into a netrc file')
    expect(first).not.toContain('hunter2')
  })

  test('other hosts are names, names below a name, or addresses', () => {
    const hosts = (written: string) =>
      `strata = [{ name = "a", upstreams = [{ url = "http://a", allowed_hosts = [${written}] }] }]`
    const good = ['cdn.example.org', '*.example.org', '10.0.0.7:8080', '[2001:db8::1]:80']
    expect(parse(hosts(JSON.stringify(good).slice(1, -1))).strata[0]?.upstreams[0]?.allowedHosts).toEqual(good)
    for (const bad of ['https://cdn.example.org', '*', 'a.*.b', 'a/b', 'me@a', '']) {
      expect(complaintsOf(hosts(JSON.stringify(bad)))[0]).toContain('strata[0].upstreams[0].allowed_hosts[0]: ')
    }
  })

  test('two upstreams cannot be given the same name', () => {
    const text =
      'strata = [{ name = "a", upstreams = [{ url = "http://a", name = "x" }, { url = "http://b", name = "x" }] }]'
    expect(complaintsOf(text)).toEqual(['strata[0].upstreams[1].name: "x" is the name of another upstream already'])
  })

  test('what is not TOML is named by line and column, on one line', () => {
    expect(complaintsOf('[server]\nlisten = 127.0.0.1:8501')).toEqual([
      expect.stringMatching(/^2:\d+: not TOML: [^\n]+$/),
    ])
    expect(complaintsOf('a = 1\na = 2')).toEqual([
      '2:1: not TOML: trying to redefine an already defined table or value',
    ])
  })

  test('whatever stands in the file, nothing but our error is thrown', () => {
    const keys = [...Object.values(tables).flat(), 'server', 'store', 'trust', 'strata', 'peers', 'log']
    const value = fc.letrec((tie) => ({
      value: fc.oneof({ depthSize: 'small' }, fc.string(), fc.integer(), fc.boolean(), tie('list'), tie('table')),
      list: fc.array(tie('value'), { maxLength: 3 }),
      table: fc.dictionary(fc.constantFrom(...keys), tie('value'), { maxKeys: 4 }),
    })).table
    const print = (inner: unknown): string => {
      if (Array.isArray(inner)) return `[${inner.map(print).join(', ')}]`
      if (typeof inner !== 'object' || inner === null) return JSON.stringify(inner)
      return `{ ${Object.entries(inner)
        .map(([key, of]) => `${key} = ${print(of)}`)
        .join(', ')} }`
    }
    const someTable = fc.property(value, (table) => {
      const lines = Object.entries(table as object).map(([key, of]) => `${key} = ${print(of)}\n`)
      complaintsOf(lines.join(''))
    })
    const someText = fc.property(fc.string(), (text) => void complaintsOf(text))
    expect(() => fc.assert(someTable, { numRuns: 300 })).not.toThrow()
    expect(() => fc.assert(someText)).not.toThrow()
  })
})

describe('flags', () => {
  test('upstreams replace the strata by one, and keep trusting the keys there are', () => {
    const config = withOverrides(defaultConfig(), {
      upstreams: ['http://10.0.0.1:8501/', 'https://cache.nixos.org/'],
      trustedKeys: [ours],
    })
    expect(config.strata).toMatchObject([{ name: 'upstreams', peers: false }])
    expect(config.strata[0]?.upstreams.map(({ name }) => name)).toEqual(['10.0.0.1:8501', 'cache.nixos.org'])
    expect(config.strata[0]?.upstreams[0]?.concurrency).toBe(64)
    expect(config.trust.keys).toEqual([nixosKey, ours])
    expect(config).toSatisfy(Object.isFrozen)
    expect(config.strata[0]?.upstreams[0]).toSatisfy(Object.isFrozen)
  })

  test('go before the file, and leave the rest of it alone', () => {
    const file = parse(`
      server = { listen = ["127.0.0.1:1"], priority = 7 }
      store = { path = "/a", max_size = "1GB", min_free = "2GB" }
      strata = [{ name = "near", peers = true }]
      log.format = "json"`)
    const config = withOverrides(file, { listen: ['[::1]:2'], store: '/b', maxSize: 5, logLevel: 'debug' })
    expect(config.server).toEqual({ ...file.server, listen: ['[::1]:2'] })
    expect(config.store).toEqual({ ...file.store, path: '/b', maxSize: 5 })
    expect(config.log).toEqual({ level: 'debug', format: 'json' })
    expect(config.strata).toEqual(file.strata)
    expect(withOverrides(file, {})).toEqual(file)
    expect(withOverrides(file, { upstreams: ['http://a/'] }).strata).toMatchObject([{ name: 'upstreams', peers: true }])
  })
})

describe('substrata.example.toml', () => {
  const example = readFileSync(new URL('../substrata.example.toml', import.meta.url), 'utf8')

  test('shows the defaults as they are', () => {
    expect(parse(example)).toEqual(defaultConfig())
  })

  test('shows every key there is', () => {
    const shown = new Set([...example.matchAll(/^#?([a-z_]+) = /gm)].map(([, key]) => key))
    expect(
      Object.values(tables)
        .flat()
        .filter((key) => !shown.has(key) && key !== 'upstreams'),
    ).toEqual([])
  })

  test('shows nothing in its comments that would be refused', () => {
    const asked = example.replaceAll(/^#(?=[a-z_]+ = |\[)/gm, '')
    const uploads = asked.match(/^uploads = .*$/gm) ?? []
    expect(uploads).toHaveLength(3)
    for (const chosen of uploads) {
      const text = asked.replaceAll(/^uploads = .*\n/gm, '').replace('[server]', `[server]\n${chosen}`)
      expect(() => parse(text.replace('peers = false', 'peers = true'))).not.toThrow()
      expect(parseToml(text)).toMatchObject({ peers: [{ id: 'bob' }], store: { max_size: '200GiB' } })
    }
  })
})
