import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { encodeBase32 } from '../../src/nix/base32.ts'
import { parseNarInfo, printNarInfo, withSignatures, withUrl } from '../../src/nix/narinfo.ts'
import { fingerprint, parseSignature } from '../../src/nix/signature.ts'
import { contentAddressed, read, refusal, signed, storeDir, withLine } from './samples.ts'

/** What a client gets for a text that an upstream sent, when the URL stays. */
const relayed = (text: string) => {
  const info = read(text)
  return printNarInfo(info, info.url)
}

describe('a narinfo', () => {
  it('is read', () => {
    const info = read(signed)
    expect(info.storePath.path).toBe('/nix/store/fy61h3nzdpyjw8kfgli303i0hc5flmn4-self-1.0')
    expect(info.url).toBe('nar/1lrypadsxvr84iarrw04iyi8iizl1phpjd8sb0ah3k9dp2rhys8n.nar.xz')
    expect(info.compression).toBe('xz')
    expect(info.fileHash).toBe('1lrypadsxvr84iarrw04iyi8iizl1phpjd8sb0ah3k9dp2rhys8n')
    expect(info.fileSize).toBe(272)
    expect(info.narHash).toBe('0aih5h8g9qqfkd9zqbnxbsnx2ki0s0wly06s2rwz0wfsm22ndz3x')
    expect(info.narSize).toBe(632)
    expect(info.references).toEqual([
      '9p3i7nb47j5j103m9zx2czj9fll3c10p-two.txt',
      'fy61h3nzdpyjw8kfgli303i0hc5flmn4-self-1.0',
    ])
    expect(info.deriver).toBe('mz4jkn5k0h9p069xhra6fhy0jbli8y4j-self-1.0.drv')
    expect(info.ca).toBeUndefined()
    expect(info.signatures.map(({ keyName }) => keyName)).toEqual(['cache1.example.org-1', 'cache2.example.org-1'])
  })

  it('of Nix is relayed byte for byte', () => {
    expect(relayed(signed)).toBe(signed)
    expect(relayed(contentAddressed)).toBe(contentAddressed)
  })

  it('gets our URL and is the same otherwise', () => {
    expect(printNarInfo(read(signed), 'nar/ours.nar.xz')).toBe(withLine('URL', 'URL: nar/ours.nar.xz'))
    expect(printNarInfo(read(signed), 'nar/$&-$1.nar')).toContain('URL: nar/$&-$1.nar\n')
  })

  it('may have its fields in any order, which stays (case 29)', () => {
    const backwards = `${signed.trimEnd().split('\n').toReversed().join('\n')}\n`
    expect(relayed(backwards)).toBe(backwards)
    expect(fingerprint(read(backwards))).toBe(fingerprint(read(signed)))
  })

  it('keeps fields that nobody knows, in their place (case 28)', () => {
    const text = withLine(
      'FileSize',
      'System: x86_64-linux',
      'FileSize: 272',
      'X-Vendor_2.0: a: b  c',
      'X-Vendor_2.0: a: b  c',
      'Empty: ',
    )
    expect(relayed(text)).toBe(text)
  })

  it('knows its fields by their exact name', () => {
    expect(refusal(withLine('NarSize', 'narsize: 632'))).toBe('narinfo: no NarSize')
    expect(relayed(`${signed}sig: x\n`)).toBe(`${signed}sig: x\n`)
  })

  it('may be without FileHash and FileSize (case 31)', () => {
    const text = withLine('FileHash').replace(/^FileSize.*\n/m, '')
    expect(read(text)).toMatchObject({ fileHash: undefined, fileSize: undefined })
    expect(relayed(text)).toBe(text)
  })

  it('may be without References and without signatures; that is for others to judge (case 46)', () => {
    const text = withLine('References').replace(/^Sig.*\n/gm, '')
    expect(read(text)).toMatchObject({ references: [], signatures: [] })
    expect(relayed(text)).toBe(text)
  })

  it('may name another path of the same hash; the reader compares (cases 18, 19)', () => {
    expect(read(signed.replaceAll('-self-1.0\n', '-other\n')).storePath.name).toBe('other')
  })
})

describe('what is put right', () => {
  it.each([
    ['CRLF (case 22)', signed.replaceAll('\n', '\r\n')],
    ['two returns before each newline', signed.replaceAll('\n', '\r\r\n')],
    ['a missing final newline (case 21)', signed.slice(0, -1)],
    ['a final return without newline', `${signed.slice(0, -1)}\r`],
    ['a byte order mark (case 23)', `\uFEFF${signed}`],
    ['blank lines (case 23)', `\n\n${signed.replaceAll('\n', '\n \t\n')}\n\n`],
    ['comments (case 23)', `# comment\n${signed.replace('URL', '# NarSize: 1\n#\nURL')}`],
    ['no space after the colons (case 25)', signed.replaceAll(/^(\w+): /gm, '$1:')],
    ['many spaces and tabs after the colons (case 25)', signed.replaceAll(/^(\w+): /gm, '$1:\t  ')],
    ['white space at the ends of lines (case 25)', signed.replaceAll('\n', ' \t\n')],
    ['several spaces between references (case 25)', signed.replace('two.txt ', 'two.txt \t  ')],
    ['a reference that comes twice', signed.replace('two.txt ', 'two.txt 9p3i7nb47j5j103m9zx2czj9fll3c10p-two.txt ')],
    [
      'exact repeats of fields (case 26)',
      signed.replaceAll(/^((?:StorePath|URL|Compression|File|Nar|Deriver).*\n)/gm, '$1$1'),
    ],
    ['exact repeats of signatures', signed.replaceAll(/^(Sig.*\n)/gm, '$1$1')],
    ['empty optional fields', signed.replace(/^FileHash.*/m, '$&\nCA:')],
    ['a signature without colon (case 45)', signed.replace('Sig', 'Sig: nonsense\nSig')],
    ['a signature of the wrong length (case 45)', signed.replace('Sig', 'Sig: cache1.example.org-1:AAAA\nSig')],
    ['an empty signature (case 45)', signed.replace('Sig', 'Sig:\nSig')],
  ])('%s', (_, text) => {
    expect(text).not.toBe(signed)
    expect(relayed(text)).toBe(signed)
    expect(read(text)).toEqual(read(signed))
  })

  it('References without its space (case 24)', () => {
    const text = contentAddressed.replace('References: ', 'References:')
    expect(relayed(text)).toBe(contentAddressed)
    expect(read(text).references).toEqual([])
  })

  it.each([
    ['missing', withLine('Compression')],
    ['empty', withLine('Compression', 'Compression:')],
  ])('a Compression that is %s means bzip2 and says so (case 39)', (_, text) => {
    expect(read(text).compression).toBe('bzip2')
    expect(relayed(text)).toBe(withLine('Compression', 'Compression: bzip2'))
  })

  it('a missing Compression is written once, behind the URL, though the URL came twice', () => {
    const text = withLine('Compression').replace(/^URL.*\n/m, '$&$&')
    expect(relayed(text)).toBe(withLine('Compression', 'Compression: bzip2'))
  })

  it.each(['FileHash', 'FileSize', 'Deriver'])('an empty %s is left out', (key) => {
    expect(relayed(withLine(key, `${key}: `))).toBe(withLine(key))
  })

  it('a FileHash that is not sha256 is left out: no client checks it, and some know no other', () => {
    const text = withLine('FileHash', 'FileHash: md5:4425hx5d1mc9y39llj4k4nm55i')
    expect(read(text).fileHash).toBeUndefined()
    expect(relayed(text)).toBe(withLine('FileHash'))
  })

  it('a FileSize of 0 is unknown', () => {
    expect(read(withLine('FileSize', 'FileSize: 0')).fileSize).toBeUndefined()
  })

  it('unknown-deriver is none, and relayed (case 38)', () => {
    const text = withLine('Deriver', 'Deriver: unknown-deriver')
    expect(read(text).deriver).toBeUndefined()
    expect(relayed(text)).toBe(text)
  })

  it('hashes of any spelling are compared in one and relayed as they came (case 33)', () => {
    const hex = Buffer.from('J5hoaHuIa1Pu2qrD2oOn8EXYwWt+EwTKUmkIqwkCMsk=', 'base64').toString('hex')
    for (const spelled of [
      `sha256:${hex}`,
      `sha256:${hex.toUpperCase()}`,
      'sha256-J5hoaHuIa1Pu2qrD2oOn8EXYwWt+EwTKUmkIqwkCMsk=',
    ]) {
      const text = withLine('NarHash', `NarHash: ${spelled}`)
      expect(read(text).narHash).toBe(encodeBase32(Buffer.from(hex, 'hex')))
      expect(relayed(text)).toBe(text)
    }
  })

  it('well-formed signatures stay byte for byte, whosever they are (cases 47, 51)', () => {
    const line = `someone else:${Buffer.alloc(64, 5).toString('base64')}`
    const text = `${signed}Sig: ${line}\n`
    expect(read(text).signatures[2]?.line).toBe(line)
    expect(relayed(text)).toBe(text)
  })
})

describe('what is refused', () => {
  const portal =
    '<!DOCTYPE html>\n<html><head><meta http-equiv="refresh" content="0; url=http://login.example/"></head></html>\n'
  const twice = (key: string, line: string) => signed.replace(new RegExp(`^${key}.*\n`, 'm'), `$&${line}\n`)

  it.each([
    ['nothing', '', 'no StorePath'],
    ['HTML (case 16)', portal, '"<!DOCTYPE html>" is not a line of a narinfo'],
    ['HTML with colons (case 16)', '<a href="http://x">\n', '"<a href=\\"http://x\\">" is not a line of a narinfo'],
    ['HTML behind a narinfo', `${signed}<br>\n`, '"<br>" is not a line of a narinfo'],
    ['JSON', '{"error":"not found"}', '"{\\"error\\":\\"not found\\"}" is not a line of a narinfo'],
    ['gzip (case 43)', '\u001f\uFFFD\b\u0000\u0000', 'control character with code 31'],
    ['a NUL', signed.replace('nar/', 'nar/\u0000'), 'control character with code 0'],
    ['a return inside a line', signed.replace('nar/', 'nar/\r'), 'control character with code 13'],
    ['DEL', signed.replace('nar/', 'nar/\u007f'), 'control character with code 127'],
    ['an escape in an unknown field', `${signed}X: \u001b[2J\n`, 'control character with code 27'],
    ['a control character beyond ASCII', `${signed}X: \u009b\n`, 'control character with code 155'],
    ['a line without colon', `${signed}nonsense\n`, '"nonsense" is not a line of a narinfo'],
    ['a line without key', `${signed}: x\n`, '": x" is not a line of a narinfo'],
    [
      'an indented line',
      signed.replace('URL', ' URL'),
      '" URL: nar/1lrypadsxvr84iarrw04iyi8iizl1phpjd8sb0ah3k9dp2rhys8n.nar.xz" is not a line of a narinfo',
    ],
    ['a space before the colon', withLine('NarSize', 'NarSize : 632'), '"NarSize : 632" is not a line of a narinfo'],

    ['no StorePath', withLine('StorePath'), 'no StorePath'],
    ['no URL', withLine('URL'), 'no URL'],
    ['no NarHash', withLine('NarHash'), 'no NarHash'],
    ['no NarSize (case 30)', withLine('NarSize'), 'no NarSize'],
    ['an empty URL', withLine('URL', 'URL: '), 'no URL'],

    [
      'another store directory (case 20)',
      withLine('StorePath', 'StorePath: /gnu/store/fy61h3nzdpyjw8kfgli303i0hc5flmn4-x'),
      'StorePath "/gnu/store/fy61h3nzdpyjw8kfgli303i0hc5flmn4-x" is not a path in /nix/store',
    ],
    [
      'a relative StorePath (case 20)',
      withLine('StorePath', 'StorePath: fy61h3nzdpyjw8kfgli303i0hc5flmn4-x'),
      'StorePath "fy61h3nzdpyjw8kfgli303i0hc5flmn4-x" is not a path in /nix/store',
    ],
    [
      'a file below a store path',
      withLine('StorePath', 'StorePath: /nix/store/fy61h3nzdpyjw8kfgli303i0hc5flmn4-x/y'),
      'StorePath "/nix/store/fy61h3nzdpyjw8kfgli303i0hc5flmn4-x/y" is not a path in /nix/store',
    ],

    ['a URL with a backslash (case 54)', withLine('URL', 'URL: nar\\x'), 'URL "nar\\\\x" has a backslash or a tab'],
    ['a URL with a tab (case 54)', withLine('URL', 'URL: nar\tx'), 'URL "nar\\tx" has a backslash or a tab'],
    ['a URL of 2049 characters (case 54)', withLine('URL', `URL: ${'x'.repeat(2049)}`), 'URL of 2049 characters'],

    ['an unknown Compression (case 39)', withLine('Compression', 'Compression: foo'), 'unknown Compression "foo"'],
    ['a Compression in capitals', withLine('Compression', 'Compression: XZ'), 'unknown Compression "XZ"'],

    [
      'a NarHash of another algorithm (case 34)',
      withLine('NarHash', 'NarHash: md5:4425hx5d1mc9y39llj4k4nm55i'),
      'NarHash "md5:4425hx5d1mc9y39llj4k4nm55i" is not a sha256',
    ],
    [
      'a NarHash with spare bits (case 35)',
      signed.replace('NarHash: sha256:0', 'NarHash: sha256:z'),
      'NarHash "sha256:zaih5h8g9qqfkd9zqbnxbsnx2ki0s0wly06s2rwz0wfsm22ndz3x" is not a sha256',
    ],
    ['a FileHash that is none', withLine('FileHash', 'FileHash: sha256:xyz'), 'FileHash "sha256:xyz" is not a hash'],
    [
      'a FileHash without algorithm',
      withLine('FileHash', `FileHash: ${'0'.repeat(52)}`),
      `FileHash "${'0'.repeat(52)}" is not a hash`,
    ],

    ['a NarSize of 0 (case 30)', withLine('NarSize', 'NarSize: 0'), 'NarSize is 0'],
    ['a negative NarSize (case 30)', withLine('NarSize', 'NarSize: -632'), 'NarSize "-632" is not a number of bytes'],
    [
      'a NarSize with a sign (case 25)',
      withLine('NarSize', 'NarSize: +632'),
      'NarSize "+632" is not a number of bytes',
    ],
    [
      'a NarSize with an exponent (case 25)',
      withLine('NarSize', 'NarSize: 1e3'),
      'NarSize "1e3" is not a number of bytes',
    ],
    ['a NarSize in hex (case 25)', withLine('NarSize', 'NarSize: 0x10'), 'NarSize "0x10" is not a number of bytes'],
    ['a NarSize with a fraction', withLine('NarSize', 'NarSize: 6.0'), 'NarSize "6.0" is not a number of bytes'],
    ['a NarSize in other digits', withLine('NarSize', 'NarSize: ٦٣٢'), 'NarSize "٦٣٢" is not a number of bytes'],
    [
      'a NarSize of 2^53 (case 30)',
      withLine('NarSize', 'NarSize: 9007199254740992'),
      'NarSize "9007199254740992" is not a number of bytes',
    ],
    [
      'a NarSize of 2^53 + 1 (case 30)',
      withLine('NarSize', 'NarSize: 9007199254740993'),
      'NarSize "9007199254740993" is not a number of bytes',
    ],
    [
      'a NarSize of 20 digits (case 30)',
      withLine('NarSize', 'NarSize: 18446744073709551616'),
      'NarSize "18446744073709551616" is not a number of bytes',
    ],
    [
      'a NarSize of 400 digits',
      withLine('NarSize', `NarSize: ${'9'.repeat(400)}`),
      `NarSize "${'9'.repeat(80)}…" is not a number of bytes`,
    ],
    ['a FileSize that is no number', withLine('FileSize', 'FileSize: big'), 'FileSize "big" is not a number of bytes'],

    [
      'a full path in References (case 37)',
      withLine('References', 'References: /nix/store/9p3i7nb47j5j103m9zx2czj9fll3c10p-two.txt'),
      'reference "/nix/store/9p3i7nb47j5j103m9zx2czj9fll3c10p-two.txt" is not a base name',
    ],
    [
      'a comma in References',
      signed.replace('two.txt ', 'two.txt,'),
      'reference "9p3i7nb47j5j103m9zx2czj9fll3c10p-two.txt,fy61h3nzdpyjw8kfgli303i0hc5flmn4-self-1…" is not a base name',
    ],
    [
      'a line that was swallowed by References',
      withLine('References', 'References: Deriver: x'),
      'reference "Deriver:" is not a base name',
    ],
    [
      'a full path as Deriver',
      withLine('Deriver', 'Deriver: /nix/store/mz4jkn5k0h9p069xhra6fhy0jbli8y4j-x.drv'),
      'Deriver "/nix/store/mz4jkn5k0h9p069xhra6fhy0jbli8y4j-x.drv" is not a base name',
    ],
    ['a CA that is none', `${signed}CA: fixed:x\n`, 'CA "fixed:x" is not a content address'],

    [
      'two StorePaths (case 26)',
      twice('StorePath', 'StorePath: /nix/store/9p3i7nb47j5j103m9zx2czj9fll3c10p-two.txt'),
      'two lines StorePath',
    ],
    ['two URLs (case 26)', twice('URL', 'URL: other'), 'two lines URL'],
    ['two Compressions (case 26)', twice('Compression', 'Compression: none'), 'two lines Compression'],
    ['a Compression and an empty one (case 26)', twice('Compression', 'Compression: '), 'two lines Compression'],
    [
      'two NarHashes (case 26)',
      twice('NarHash', 'NarHash: sha256:1lrypadsxvr84iarrw04iyi8iizl1phpjd8sb0ah3k9dp2rhys8n'),
      'two lines NarHash',
    ],
    ['two NarSizes (case 26)', `${signed}NarSize: 633\n`, 'two lines NarSize'],
    ['two FileSizes (case 26)', `${signed}FileSize: 273\n`, 'two lines FileSize'],
    ['two Derivers (case 26)', `${signed}Deriver: unknown-deriver\n`, 'two lines Deriver'],
    ['the same References twice (case 27)', signed.replace(/^References.*\n/m, '$&$&'), 'two lines References'],
    [
      'empty References before References (case 27)',
      signed.replace('References', 'References: \nReferences'),
      'two lines References',
    ],
    ['the same CA twice (case 27)', contentAddressed.replace(/^CA.*\n/m, '$&$&'), 'two lines CA'],
  ])('%s', (_, text, why) => {
    expect(refusal(text)).toBe(`narinfo: ${why}`)
  })

  it('is not a URL that leads elsewhere: whoever fetches it decides (cases 54 to 59)', () => {
    const urls = [
      '../../etc/passwd',
      '/nar/x',
      'http://127.0.0.1/x',
      'file:///etc/passwd',
      'x?hash=y&z',
      'a b',
      '6f0c-uuid',
      'x'.repeat(2048),
    ]
    for (const url of urls) expect(read(withLine('URL', `URL: ${url}`)).url).toBe(url)
  })

  it('is not a path in the store directory that was asked for', () => {
    const text = signed.replaceAll('/nix/store', '/home/me/store')
    expect(parseNarInfo(text, '/home/me/store').storePath.dir).toBe('/home/me/store')
    expect(refusal(text)).toMatch(/^narinfo: StorePath /)
  })

  it('is not a long list of references (case 37)', () => {
    const names = Array.from({ length: 5000 }, (_, i) => `9p3i7nb47j5j103m9zx2czj9fll3c10p-${i}`)
    expect(read(withLine('References', `References: ${names.join(' ')}`)).references).toEqual(names)
  })

  it('is not the largest size that is exact', () => {
    expect(read(withLine('NarSize', 'NarSize: 9007199254740991')).narSize).toBe(Number.MAX_SAFE_INTEGER)
  })
})

describe('more signatures', () => {
  const signature = (byte: number) => parseSignature(`more-${byte}:${Buffer.alloc(64, byte).toString('base64')}`)!

  it('are added behind those that are there, each line once (case 51)', () => {
    const info = read(`${signed}X: y\n`)
    const more = withSignatures(info, [signature(1), ...info.signatures, signature(2), signature(1)])
    expect(more.signatures).toEqual([...info.signatures, signature(1), signature(2)])
    expect(printNarInfo(more, info.url)).toBe(`${signed}Sig: ${signature(1).line}\nSig: ${signature(2).line}\nX: y\n`)
    expect(printNarInfo(info, info.url)).toBe(`${signed}X: y\n`)
  })

  it('stand at the end where there was none', () => {
    const more = withSignatures(read(contentAddressed), [signature(1)])
    expect(printNarInfo(more, more.url)).toBe(`${contentAddressed}Sig: ${signature(1).line}\n`)
    expect(read(printNarInfo(more, more.url))).toEqual(more)
  })

  it('that are none change nothing', () => {
    expect(withSignatures(read(signed), [])).toEqual(read(signed))
  })
})

// --- Properties ---

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
const storeHashes = bytes(20).map(encodeBase32)
const names = fc.stringMatching(/^[0-9a-zA-Z+_?=][0-9a-zA-Z+\-._?=]{0,40}$/)
const baseNames = fc.tuple(storeHashes, names).map((parts) => parts.join('-'))
const hashes = fc.oneof(
  bytes(32).map((digest) => `sha256:${encodeBase32(digest)}`),
  bytes(32).map((digest) => `sha256:${Buffer.from(digest).toString('hex')}`),
  bytes(32).map((digest) => `sha256-${Buffer.from(digest).toString('base64')}`),
)
const signatures = fc.tuple(names, bytes(64)).map(([name, each]) => `${name}:${Buffer.from(each).toString('base64')}`)
const optional = (key: string, values: fc.Arbitrary<string>) =>
  fc.option(
    values.map((value) => `${key}: ${value}`),
    { nil: undefined },
  )

/** Narinfos as Nix would write them, with fields in any order. */
const canonical = fc
  .tuple(
    baseNames.map((name) => `StorePath: ${storeDir}/${name}`),
    fc.webPath().map((path) => `URL: nar${path}`),
    fc.constantFrom('none', 'xz', 'zstd', 'bzip2', 'gzip', 'br', 'lzip', 'lz4').map((name) => `Compression: ${name}`),
    hashes.map((hash) => `NarHash: ${hash}`),
    fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }).map((size) => `NarSize: ${size}`),
    optional('FileHash', hashes),
    optional('FileSize', fc.maxSafeNat().map(String)),
    optional(
      'References',
      fc.uniqueArray(baseNames, { maxLength: 5 }).map((all) => all.join(' ')),
    ),
    optional('Deriver', fc.oneof(baseNames, fc.constant('unknown-deriver'))),
    optional(
      'CA',
      bytes(32).map((digest) => `fixed:r:sha256:${encodeBase32(digest)}`),
    ),
    optional('X-Vendor', names),
    fc.uniqueArray(signatures, { maxLength: 3 }).map(
      (all) =>
        all
          .map((line) => `Sig: ${line}\n`)
          .join('')
          .trimEnd() || undefined,
    ),
  )
  .chain((lines) => {
    const said = lines.filter((line) => line !== undefined)
    return fc.shuffledSubarray(said, { minLength: said.length })
  })
  .map((lines) => `${lines.join('\n')}\n`)

/** The same with what upstreams do to it: every line end and every space after a colon drawn anew, odd lines in between. */
const messy = canonical.chain((text) => {
  const lines = text.trimEnd().split('\n')
  const end = fc.constantFrom('\n', '\r\n', ' \n', '\n\n', '\n# x\n', '\t\r\n', '\nSig: bad\n')
  const gap = fc.constantFrom(': ', ':', ':  ', ':\t')
  return fc
    .tuple(...lines.map((line) => fc.tuple(end, gap).map(([after, colon]) => line.replace(': ', colon) + after)))
    .map((all) => all.join(''))
})

/** Nix's own reader (nar-info.cc, 2.8 to 2.35), as it was measured: what a client makes of a text, or undefined for `corrupt`. */
function asNixReads(text: string): Map<string, string[]> | undefined {
  const values = new Map<string, string[]>()
  for (let at = 0; at < text.length;) {
    const colon = text.indexOf(':', at)
    if (colon < 0) return undefined
    const end = text.indexOf('\n', colon + 2)
    if (end < 0) return undefined
    const key = text.slice(at, colon)
    values.set(key, [...(values.get(key) ?? []), text.slice(colon + 2, end)])
    at = end + 1
  }
  return values
}

describe('every narinfo', () => {
  it('that is written as Nix writes it is relayed byte for byte', () => {
    fc.assert(
      fc.property(canonical, (text) => {
        expect(relayed(text)).toBe(text)
      }),
    )
  })

  it('that is put right says the same, and needs no putting right again', () => {
    fc.assert(
      fc.property(messy, (text) => {
        const info = read(text)
        expect(read(relayed(text))).toEqual(info)
        expect(relayed(relayed(text))).toBe(relayed(text))
      }),
    )
  })

  it('that was printed gets another URL without being read', () => {
    fc.assert(
      fc.property(messy, (text) => {
        const info = read(text)
        expect(withUrl(printNarInfo(info, info.url), 'nar/$&.nar')).toBe(printNarInfo(info, 'nar/$&.nar'))
      }),
    )
    const first = read(`URL: a.nar\n${signed.replace(/^URL: .*\n/m, '')}`)
    expect(withUrl(relayed(signed), 'b')).toBe(printNarInfo(read(signed), 'b'))
    expect(withUrl(printNarInfo(first, first.url), 'b')).toBe(printNarInfo(first, 'b'))
  })

  it('that we relay is read by Nix as we read it', () => {
    fc.assert(
      fc.property(messy, (text) => {
        const info = read(text)
        const values = asNixReads(printNarInfo(info, 'nar/ours.nar'))
        expect(values?.get('StorePath')).toEqual([info.storePath.path])
        expect(values?.get('URL')).toEqual(['nar/ours.nar'])
        expect(values?.get('Compression')).toEqual([info.compression])
        expect(values?.get('NarSize')).toEqual([String(info.narSize)])
        expect((values?.get('References') ?? [''])[0]).toBe(info.references.join(' '))
        expect(values?.get('Sig') ?? []).toEqual(info.signatures.map(({ line }) => line))
        expect([...(values?.values() ?? [])].flat().some((value) => value !== value.trim())).toBe(false)
      }),
    )
  })

  it('with a byte changed is refused with our error, or relayed so that it can be read again', () => {
    fc.assert(
      fc.property(messy, fc.nat(), fc.string({ unit: 'binary', maxLength: 3 }), (text, where, put) => {
        const at = where % text.length
        const changed = text.slice(0, at) + put + text.slice(at + 1)
        const why = refusal(changed)
        expect(why === undefined ? relayed(relayed(changed)) === relayed(changed) : why.startsWith('narinfo: ')).toBe(
          true,
        )
      }),
      { numRuns: 500 },
    )
  })

  it('of arbitrary text is refused with our error', () => {
    const lines = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('StorePath: ', 'URL: x', ': ', 'Sig: ', '\r', 'NarSize: 1'),
    )
    fc.assert(
      fc.property(
        fc.array(lines).map((all) => all.join('\n')),
        (text) => {
          expect(refusal(text)).toMatch(/^narinfo: /)
        },
      ),
    )
  })

  it('of arbitrary bytes is refused with our error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(refusal(Buffer.from(bytes).toString())).toMatch(/^narinfo: /)
      }),
    )
  })
})
