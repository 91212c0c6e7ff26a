import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { resourceKind } from '../../src/nix/resource.ts'

const hash = 'sp69qifh9883ihs597ic0b4l257lv18n'
const drv = `${hash}-demo-2.drv`
const sha256 = 'a'.repeat(64)
const buildId = '0123456789abcdef0123456789abcdef01234567'

describe('a resource (case 114)', () => {
  it.each([
    [`log/${drv}`, 'log'],
    [`${hash}.ls`, 'listing'],
    [`realisations/sha256:${sha256}!out.doi`, 'realisation'],
    [`realisations/sha256:${sha256}!a.b-c_d.doi`, 'realisation'],
    [`build-trace-v2/${drv}/out.doi`, 'build-trace'],
    [`debuginfo/${buildId}`, 'debuginfo'],
    [`debuginfo/${buildId}.debug`, 'debuginfo'],
  ])('%s is a %s', (path, kind) => {
    expect(resourceKind(path)).toBe(kind)
  })

  it.each([
    '',
    '/',
    'log',
    'log/',
    `/log/${drv}`,
    `log//${drv}`,
    `log/${drv}/`,
    `log/${hash}-demo-2`,
    `log/${hash}.drv`,
    `log/../${drv}`,
    `log/${hash}-..%2f.drv`,
    'log/../../etc/passwd',
    `../${hash}.ls`,
    `${hash.slice(1)}.ls`,
    `${hash}.ls/`,
    `${hash}.sl`,
    hash,
    `${hash}.narinfo`,
    '.ls',
    `realisations/sha256:${sha256.slice(1)}!out.doi`,
    `realisations/sha256:${sha256}!.doi`,
    `realisations/sha256:${sha256}!...doi`,
    `realisations/sha256:${sha256}!a!b.doi`,
    `realisations/sha256:${sha256}!out`,
    `realisations/sha256:${sha256}!out.txt`,
    `realisations/sha256:${sha256}-out.doi`,
    `realisations/SHA256:${sha256}!out.doi`,
    `realisations/sha1:${sha256}!out.doi`,
    `realisations/sha256:${sha256}!out.doi/x`,
    `build-trace-v2/${drv}`,
    `build-trace-v2/${drv}/`,
    `build-trace-v2/${drv}/..`,
    `build-trace-v2/${drv}/out.doi/x`,
    `build-trace-v2/../out.doi`,
    `build-trace/${drv}/out.doi`,
    `debuginfo/${buildId.slice(1)}`,
    `debuginfo/${buildId.toUpperCase()}`,
    `debuginfo/${buildId}.debug.xz`,
    `debuginfo/../${buildId}`,
    `debuginfo/${buildId}\n`,
    `nar/${hash}.nar`,
    `constructor/${drv}`,
  ])('%j is none', (path) => {
    expect(resourceKind(path)).toBeUndefined()
  })

  it('never leads outside, whatever is asked', () => {
    const parts = fc.constantFrom(
      '..',
      '.',
      '',
      'log',
      'debuginfo',
      'realisations',
      'build-trace-v2',
      drv,
      `${hash}.ls`,
      '\\',
      '\u0000',
      '%2e',
      buildId,
      'out.doi',
      `sha256:${sha256}!`,
    )
    const paths = fc.array(fc.oneof(parts, fc.string()), { maxLength: 5 }).map((all) => all.join('/'))
    fc.assert(
      fc.property(paths, (path) => {
        const taken = resourceKind(path) !== undefined
        expect(taken && !/^[0-9a-zA-Z+\-._?=:!/]+$/.test(path)).toBe(false)
        expect(taken && path.split('/').some((part) => part === '' || part === '.' || part === '..')).toBe(false)
      }),
    )
  })
})
