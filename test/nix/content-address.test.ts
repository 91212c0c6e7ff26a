import { describe, expect, it } from 'vitest'

import { parseContentAddress, provesItsPath } from '../../src/nix/content-address.ts'
import { parseNarInfo, type NarInfo } from '../../src/nix/narinfo.ts'
import { read, signed, withLine } from './samples.ts'

// Made by Nix 2.8.0: `nix-store --add`, `nix-store --add-fixed [--recursive] <algorithm>`, builtins.toFile, a derivation, and `nix
// store make-content-addressed` for NARs with references; written by `nix path-info --json`. That Nix has no git hashing: the last
// one was published with the article that introduced it. Store path, CA, NarHash, NarSize, references.
const byNix = `
/nix/store/29hidbs0xl0xr5s4nz6av8w1x9djnnnn-tree fixed:r:sha256:1j9j084sn239ab5084vydg0xhighly1xmhxavbp56sw8gdl6i64g sha256-j5hoaHuIa1Pu2qrD2oOn8EXYwWt+EwTKUmkIqwkCMsk= 648
/nix/store/9a8mxachqmcv8x2cfijdps9dyxgyyrzm-hello.txt fixed:sha512:0lrc0dwnvipqviibf7qfm1y492qvjwb1zhkcyi05cndmva1mr5gjcgrnz1x36djmk0sfg8djd2n0qv68vib2jg590mwznar9jcjphp7 sha256-HDfQGvQL4ugGkd48w99EN3ppmvuxfGjwgJZLL9Bx/BM= 120
/nix/store/9nfplls2l6q5shvibnlbgiypmvf8l1d5-tree fixed:r:sha1:1nm5krdgh6rashhan5mln1094g1gdqpw sha256-j5hoaHuIa1Pu2qrD2oOn8EXYwWt+EwTKUmkIqwkCMsk= 648
/nix/store/dra1cz5vbrhclpv4y1q0psnbkxz581bk-hello.txt fixed:md5:4425hx5d1mc9y39llj4k4nm55i sha256-HDfQGvQL4ugGkd48w99EN3ppmvuxfGjwgJZLL9Bx/BM= 120
/nix/store/gy454w1cxaq731grqwylhzf4pp9r5izh-hello.txt fixed:sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq sha256-HDfQGvQL4ugGkd48w99EN3ppmvuxfGjwgJZLL9Bx/BM= 120
/nix/store/i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt fixed:r:sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw sha256-HDfQGvQL4ugGkd48w99EN3ppmvuxfGjwgJZLL9Bx/BM= 120
/nix/store/svdva85yi507g9vncgsaxvnd1r808h4w-hello.txt fixed:sha1:iwjz551fyw0cxcjgf4l6c879zabd6wpm sha256-HDfQGvQL4ugGkd48w99EN3ppmvuxfGjwgJZLL9Bx/BM= 120
/nix/store/vyxwyzjarh836igc53c6ib0a06gqq6jq-tree fixed:r:sha512:0hwdhx8r4winjhfxhqkiyv836rs6gjlxfzyi09572jvdrgwg8snj257a5p1gr9aifx6al1h8ck1sg5c31hqvynilqxs75cjidid4xlg sha256-j5hoaHuIa1Pu2qrD2oOn8EXYwWt+EwTKUmkIqwkCMsk= 648
/nix/store/yh6db9g54cx77zh3wc7bdq78py78gbyj-tree fixed:r:md5:1nlgwah2m4cad4wpagj0shmmk7 sha256-j5hoaHuIa1Pu2qrD2oOn8EXYwWt+EwTKUmkIqwkCMsk= 648
/nix/store/06a9qd28rb8gz1lhzx7c5xa0yvszm683-refs-1.0 fixed:r:sha256:132mm6q4vvih3kgxa65ych0wis16xa51kzvrgi65yv0j4axamdic sha256-LLaquiISbF9MfHn/GYrqJujIAWS+GNXfHDDuTbCpVYw= 168 cxig66yg9zv780w03x42jpxxgr5kzzhn-two.txt
/nix/store/56449dcsdkj0mcdsfjlcf76zr5xafa1i-other.txt text:sha256:11qzh8j4a2mlqqswm0i0v40a2s5dkx4c9vsxkmrqkh3sikms4kvy sha256-Ym0yHYWVFHd+ZX9200fV10Dgw7phlALQXGWDeiDUqSI= 120
/nix/store/8s81nxs3j75xma4jb3jgw7llif31k5rh-self-1.0 fixed:r:sha256:1hapn1nm9fmn71jygx6zji1x7zl7c99rmnay2cin8az37vb29vra sha256-eZOcSOvUfF4Tbi9FTf1ynWVRLFrCr5YjkhI4hoUjhNs= 632 8s81nxs3j75xma4jb3jgw7llif31k5rh-self-1.0 cxig66yg9zv780w03x42jpxxgr5kzzhn-two.txt
/nix/store/98gr1ppxmqkk2kjkygmmphjhf2qagh2g-plain.txt text:sha256:08nx6s451sjsffbckgm19hc0xk000pk33khs078n8n8g701si6z3 sha256-XiVMPNrFb51Z+0m+JlRlYUwuqcOpOYW01piVO7H8Xao= 128
/nix/store/9p3i7nb47j5j103m9zx2czj9fll3c10p-two.txt text:sha256:1dcla34nbpikrbsdrm4ng73bqivnhnmzz19mjxvaxhlma20ws774 sha256-wmJfRM739ApmF3y/kwKplYxC6/qe+f1uk45A3m4ZDCE= 232 56449dcsdkj0mcdsfjlcf76zr5xafa1i-other.txt 98gr1ppxmqkk2kjkygmmphjhf2qagh2g-plain.txt
/nix/store/cxig66yg9zv780w03x42jpxxgr5kzzhn-two.txt fixed:r:sha256:150rk0shaxf6kwz3p6v020i9yrz1kfb5pxzhfs5nfm3j6adhqpmp sha256-t14MmzJyVGeLdvD3W5ab4WefIhBgmzs+n8Z1BTWYGZQ= 232 8fammqwlwvsbr1kv81mq2g8mk2j9s2kg-plain.txt w4w0saa6vkriqgjrxbxqnny2fw7mrsm6-other.txt
/nix/store/izvjpbsrxqxrr17avq1n8p10a0q3qwsg-dep.drv text:sha256:194bkj3k3kj5mh20c6vdz6nm8srrn7w1wanvndfia03k4srz2nhv sha256-Zw+7ao5TNpLJGQ7iEH+S/Z2rsmo/9/HV5s4QZ1SOYas= 504 9p3i7nb47j5j103m9zx2czj9fll3c10p-two.txt
/nix/store/p5mrs4ilir02a34a5p0yzpwyc9jiq461-selfonly fixed:r:sha256:0ycx3d1xynr7x7f6v4mc2sba4sq75bjj3jqaaajz3sb5j7w5bwj7 sha256-97T764uDRic6LJ8f9necRS9jqHjocTgrWCAl8hYRYe4= 224 p5mrs4ilir02a34a5p0yzpwyc9jiq461-selfonly
/tmp/nixvec/C/store/ihikyas97pg6nh9d9163825slhl0isvq-hello.txt fixed:r:sha256:04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw sha256-HDfQGvQL4ugGkd48w99EN3ppmvuxfGjwgJZLL9Bx/BM= 120
/tmp/nixvec/C/store/j193qwlsdmqw78xjr8x1az2f4jjlxykq-hello.txt fixed:sha1:iwjz551fyw0cxcjgf4l6c879zabd6wpm sha256-HDfQGvQL4ugGkd48w99EN3ppmvuxfGjwgJZLL9Bx/BM= 120
/nix/store/p3mq27al6qgja0m0b97nq1vs55fa34pr-source fixed:git:sha1:pzki9p5zq6xfkkhkmrx2bhwzqafnwagx sha256-uIr1qotOcueLPXGNOTArfNSABsA3wAXrz4EqAQxJ8lI= 237552
`
  .trim()
  .split('\n')
  .map((line) => {
    const [path = '', ca = '', narHash, narSize, ...references] = line.split(' ')
    const text = `StorePath: ${path}\nURL: x\nNarHash: ${narHash}\nNarSize: ${narSize}\nReferences: ${references.join(' ')}\nCA: ${ca}\n`
    return { path, ca, info: parseNarInfo(text, path.slice(0, path.lastIndexOf('/'))) }
  })

const proved = (info: NarInfo, changes: Partial<NarInfo> = {}) => provesItsPath({ ...info, ...changes })
const selfOf = ({ storePath }: NarInfo) => `${storePath.hash}-${storePath.name}`
const another = 'r6rk0sa7g9gm4hxm6cmy965akad637av-dep'

describe('a content address', () => {
  it('was tried in every form, with and without references, and in two store directories', () => {
    const forms = new Set(byNix.map(({ ca }) => ca.slice(0, ca.lastIndexOf(':'))))
    const flat = ['fixed:md5', 'fixed:sha1', 'fixed:sha256', 'fixed:sha512']
    const nar = ['fixed:r:md5', 'fixed:r:sha1', 'fixed:r:sha256', 'fixed:r:sha512']
    expect(forms).toEqual(new Set([...flat, ...nar, 'fixed:git:sha1', 'text:sha256']))
    for (const form of ['text:', 'fixed:r:sha256:']) {
      const counts = byNix.filter(({ ca }) => ca.startsWith(form)).map(({ info }) => info.references.length)
      expect(new Set(counts)).toEqual(new Set([0, 1, 2]))
    }
    expect(byNix.filter(({ info }) => info.references.includes(selfOf(info)))).toHaveLength(2)
    expect(new Set(byNix.map(({ info }) => info.storePath.dir)).size).toBe(2)
  })

  it.each(byNix)('$ca proves $path (case 48)', ({ info }) => {
    expect(proved(info)).toBe(true)
  })

  it.each(byNix)('$ca proves $path in whatever order the references are', ({ info }) => {
    expect(proved(info, { references: [...info.references, ...info.references].toReversed() })).toBe(true)
  })

  describe.each(byNix)('$ca of $path proves no path (case 48)', ({ info, ca }) => {
    const { storePath, references } = info

    it('of another name', () => {
      expect(
        proved(info, { storePath: { ...storePath, path: `${storePath.path}x`, name: `${storePath.name}x` } }),
      ).toBe(false)
    })

    it('of another hash', () => {
      const path = storePath.path.replace(storePath.hash, read(signed).storePath.hash)
      expect(proved(info, { storePath: { ...storePath, path, hash: read(signed).storePath.hash } })).toBe(false)
    })

    it('in another store directory', () => {
      const dir = '/elsewhere'
      expect(proved(info, { storePath: { ...storePath, path: storePath.path.replace(storePath.dir, dir), dir } })).toBe(
        false,
      )
    })

    it('with one reference more', () => {
      expect(proved(info, { references: [...references, another] })).toBe(false)
    })

    it('with a reference to itself more or less', () => {
      const others = references.filter((name) => name !== selfOf(info))
      expect(proved(info, { references: others.length < references.length ? others : [...others, selfOf(info)] })).toBe(
        false,
      )
    })

    it('by another digest', () => {
      expect(proved(info, { ca: ca.replace(/.$/, (last) => (last === '0' ? '1' : '0')) })).toBe(false)
    })

    it('by another method', () => {
      const form = /^(?:text|fixed:r|fixed:git|fixed):/
      const others = ['text:', 'fixed:', 'fixed:r:', 'fixed:git:'].filter((method) => method !== form.exec(ca)?.[0])
      expect(others).toHaveLength(3)
      for (const method of others) expect(proved(info, { ca: ca.replace(form, method) })).toBe(false)
    })
  })

  it.each(byNix.filter(({ info }) => info.references.length > 0))(
    '$ca of $path proves no path with one reference less (case 48)',
    ({ info }) => {
      expect(proved(info, { references: info.references.slice(1) })).toBe(false)
      expect(proved(info, { references: info.references.slice(0, -1) })).toBe(false)
    },
  )

  it('of a NAR holds NarHash to the same digest, where the NAR does not name its own path', () => {
    const { narHash } = read(signed)
    const held = byNix.filter(({ info }) => !proved(info, { narHash }))
    expect(held).toEqual(
      byNix.filter(({ ca, info }) => ca.startsWith('fixed:r:sha256:') && !info.references.includes(selfOf(info))),
    )
  })

  it('is no proof when it is missing or false (case 48)', () => {
    expect(proved(read(signed))).toBe(false)
    expect(proved(read(withLine('Sig', `CA: fixed:r:sha256:${read(signed).narHash}`)))).toBe(false)
  })

  it('may be spelled in any way that Nix reads', () => {
    const { info } = byNix.find(({ ca }) => ca.startsWith('fixed:r:sha256:'))!
    const base64 = 'j5hoaHuIa1Pu2qrD2oOn8EXYwWt+EwTKUmkIqwkCMsk='
    const hex = Buffer.from(base64, 'base64').toString('hex')
    for (const hash of [hex, hex.toUpperCase(), base64])
      expect(proved(info, { ca: `fixed:r:sha256:${hash}` })).toBe(true)
  })
})

describe('the value of a CA line', () => {
  const sha256 = '1j9j084sn239ab5084vydg0xhighly1xmhxavbp56sw8gdl6i64g'

  it.each([
    '',
    'fixed',
    'fixed:',
    'fixed:r:',
    'fixed:r:sha256:',
    'fixed:r:sha256:zzz',
    `fixed:${sha256}`,
    `fixed:r:r:sha256:${sha256}`,
    `fixed:x:sha256:${sha256}`,
    `fixed:sha3:${sha256}`,
    `fixed:sha256-b2qtBWt/t22iiu5M3fajP8uJcvqnLY0MsYL67TFjUn8=`,
    `sha256:${sha256}`,
    `text:r:sha256:${sha256}`,
    'text:sha1:iwjz551fyw0cxcjgf4l6c879zabd6wpm',
    'fixed:git:md5:4425hx5d1mc9y39llj4k4nm55i',
    `source:sha256:${sha256}`,
    ` fixed:sha256:${sha256}`,
    `fixed:sha256:${sha256} `,
  ])('is not %j', (text) => {
    expect(parseContentAddress(text)).toBeUndefined()
  })

  it.each([
    ['text', `text:sha256:${sha256}`],
    ['flat', `fixed:sha256:${sha256}`],
    ['nar', `fixed:r:sha256:${sha256}`],
    ['git', `fixed:git:sha256:${sha256}`],
    ['nar', `fixed:r:blake3:${sha256}`],
  ])('may mean %s: %s', (method, text) => {
    expect(parseContentAddress(text)?.method).toBe(method)
  })
})
