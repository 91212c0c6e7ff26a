// URLs that strangers write: what a client asks for under `nar/` and beside it, and where an upstream says that its NAR is.

import assert from 'node:assert/strict'

import { ProxyError } from '../../src/errors.ts'
import { narFileName, parseNarFileName } from '../../src/nix/nar-url.ts'
import { resourceKind } from '../../src/nix/resource.ts'
import { isNarPath, narTarget } from '../../src/server/nar-target.ts'
import { resourceTarget } from '../../src/server/passthrough.ts'
import { narLocation, redirectTarget } from '../../src/upstreams/location.ts'
import { pure } from './target.ts'

const hash = 'sp69qifh9883ihs597ic0b4l257lv18n'
const digest = '0zsjccqyvyl2n468sbd7z9r8kjrzlgvdsk7fiai6vdvzdc2ssskg'
const own = new URL('https://cache.example.org/base/')
const bounds = { own, allowedHosts: ['cdn.example.org', '*.mirror.example.org'] }
const hosts = /^(?:cache\.example\.org|cdn\.example\.org|[^/@:]+\.mirror\.example\.org)$/

export const narUrl = pure({
  name: 'nar-url',
  samples: [
    `nar/${hash}-${digest}.nar.zst`,
    `nar/${hash}-${digest}.nar?x=y`,
    `nar/${digest}.nar.xz?hash=${hash}`,
    `nar/a/b/c.nar`,
    `log/${hash}-demo-2.drv`,
    `${hash}.ls`,
    `realisations/sha256:${'a'.repeat(64)}!out.doi`,
    `build-trace-v2/${hash}-demo-2.drv/out.doi`,
    `debuginfo/${'0123456789'.repeat(4)}.debug`,
    'https://cdn.example.org/nar/x.nar?signature=a%2Fb',
    '//a.mirror.example.org/x',
    '/nar/x.nar',
  ],
  words: [
    'nar/',
    '.nar',
    '.xz',
    '.zst',
    '.narinfo',
    '?',
    '#',
    '../',
    '%2e%2e/',
    '..%2f',
    '/./',
    '//',
    '\\',
    '@',
    ':80',
    'https://',
    'file:///etc/passwd',
    'http://127.0.0.1/',
    'http://user:secret@cdn.example.org/',
    '[::1]',
    'cdn.example.org',
    '!',
    hash,
  ],
  check: (input) => {
    const text = input.toString()
    const outcome: string[] = []

    const named = parseNarFileName(text)
    if (named) assert.equal(narFileName(named.hash, named.nar), text)
    const target = narTarget(text)
    if (target && 'hash' in target) assert.equal(`nar/${narFileName(target.hash, target.nar)}`, text.split('?')[0])
    else if (target) assert.equal(target.foreign, text)
    if (target || isNarPath(text)) assertClimbsNowhere(text.split('?')[0] ?? '')
    outcome.push(target ? Object.keys(target).join(' ') : 'no NAR')

    const resource = resourceTarget(`/${text}`)
    if (resource) {
      assertClimbsNowhere(resource.path)
      assert.equal(resourceKind(resource.path), resource.kind)
      assert(resource.path.length < 500)
    }
    outcome.push(resource?.kind ?? 'no resource')

    for (const locate of [() => narLocation(text, bounds), () => redirectTarget(own, text, bounds)]) {
      try {
        const url = locate()
        assert.match(url.hostname, hosts)
        assert.equal(url.username + url.password + url.hash, '')
        assert(url.protocol === 'https:' || url.protocol === 'http:')
        if (url.origin === own.origin) assertClimbsNowhere(url.pathname)
        outcome.push(`${url.protocol}//${url.hostname.length}`)
      } catch (error) {
        assert(
          error instanceof ProxyError && (error.code === 'bad-address' || error.code === 'bad-status'),
          error as Error,
        )
        // A letter is nine at most, escaped; in a host's name (Punycode) it is fewer.
        assert(error.message.length < 9 * text.length + 400)
        outcome.push(error.code)
      }
    }
    return outcome.join(', ')
  },
})

function assertClimbsNowhere(path: string): void {
  assert(!/(?:^|\/)\.{1,2}(?:\/|$)|[\\\0-\x20]/.test(path), `${JSON.stringify(path)} climbs`)
}
