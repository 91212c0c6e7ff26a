import { createPublicKey, verify as verifyByNode } from 'node:crypto'

import { etc, hash, Point, utils, verify as verifyByNoble } from '@noble/ed25519'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import type { NarInfo } from '../../src/nix/narinfo.ts'
import {
  fingerprint,
  makeSecretKey,
  parsePublicKey,
  parseSecretKey,
  parseSignature,
  printPublicKey,
  printSecretKey,
  sign,
  verifiedBy,
  type SecretKey,
} from '../../src/nix/signature.ts'
import { contentAddressed, publicKey1, publicKey2, read, secretKey1, signed, withLine } from './samples.ts'

const keys = [parsePublicKey(publicKey1), parsePublicKey(publicKey2)]
const [key1, key2] = keys
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')

/** The narinfo with these signatures and no others. */
function signedBy(info: NarInfo, ...lines: string[]): NarInfo {
  return { ...info, signatures: lines.flatMap((line) => parseSignature(line) ?? []) }
}

describe('the fingerprint', () => {
  it('is what Nix signs', () => {
    expect(fingerprint(read(signed))).toBe(
      '1;/nix/store/fy61h3nzdpyjw8kfgli303i0hc5flmn4-self-1.0;sha256:0aih5h8g9qqfkd9zqbnxbsnx2ki0s0wly06s2rwz0wfsm22ndz3x;632;' +
        '/nix/store/9p3i7nb47j5j103m9zx2czj9fll3c10p-two.txt,/nix/store/fy61h3nzdpyjw8kfgli303i0hc5flmn4-self-1.0',
    )
  })

  it('ends in a semicolon where there are no references', () => {
    expect(fingerprint(read(contentAddressed))).toMatch(/;648;$/)
  })

  it('sorts the references and counts each once (case 36)', () => {
    const info = read(signed)
    const references = [...info.references, ...info.references].toReversed()
    expect(fingerprint({ ...info, references })).toBe(fingerprint(info))
  })

  it('is the same however NarHash was spelled (case 33)', () => {
    const hex = '7e7ce60d7406b70b24b1f81b4f7d07c9e41ba42a8ac0dd5c48af1d2ff31af1e1'
    const one = fingerprint(read(withLine('NarHash', `NarHash: sha256:${hex}`)))
    const sri = `sha256-${Buffer.from(hex, 'hex').toString('base64')}`
    expect(fingerprint(read(withLine('NarHash', `NarHash: ${hex.toUpperCase().replace(/^/, 'sha256:')}`)))).toBe(one)
    expect(fingerprint(read(withLine('NarHash', `NarHash: ${sri}`)))).toBe(one)
  })

  it('covers store path, NarHash, NarSize and references, and nothing else', () => {
    const info = read(signed)
    const other = read(contentAddressed)
    const changed = (Object.keys(info) as (keyof NarInfo)[]).filter(
      (key) => fingerprint({ ...info, [key]: other[key] }) !== fingerprint(info),
    )
    expect(changed.sort()).toEqual(['narHash', 'narSize', 'references', 'storePath'])
  })
})

describe('a signature', () => {
  it('of Nix holds for what Nix signed', async () => {
    const key = parsePublicKey('cache1.example.org-1:yBRJXCZEnYNPDdMLoTrpid94eRe+70h7FegDB1VPUmQ=')
    const info = signedBy(
      read(`StorePath: /nix/store/sp69qifh9883ihs597ic0b4l257lv18n-demo-2
URL: nar/x.nar
NarHash: sha256:0zsjccqyvyl2n468sbd7z9r8kjrzlgvdsk7fiai6vdvzdc2ssskg
NarSize: 84832
References: vp2rlk068sskdbmhcm9y15vlmgiy8y5d-demo-0 sp69qifh9883ihs597ic0b4l257lv18n-demo-2
`),
      'cache1.example.org-1:hJPOeo49eOza9JOEegc9bggOLvvVsdVt7e9MnLvFfuk/cKMVo6N1sYdI9xXtqWC1HmHqJtgL7DiTfHIRxGobBQ==',
    )
    expect(await verifiedBy(info, [key])).toBe('cache1.example.org-1')
  })

  it('of either key is enough, and the first in the narinfo is named (case 52)', async () => {
    const info = read(signed)
    expect(await verifiedBy(info, keys)).toBe(key1?.name)
    expect(await verifiedBy(info, keys.toReversed())).toBe(key1?.name)
    expect(await verifiedBy(info, [key2!])).toBe(key2?.name)
  })

  it('is looked for behind one that is false', async () => {
    const [first, second] = read(signed).signatures.map(({ line }) => line)
    const info = signedBy(read(signed), first!.replace('gUsk', 'AAAA'), second!)
    expect(await verifiedBy(info, keys)).toBe(key2?.name)
  })

  it('of a key that is not trusted does not count (case 47)', async () => {
    const stranger = makeSecretKey('stranger-1')
    const info = signedBy(read(signed), sign(stranger, fingerprint(read(signed))))
    expect(await verifiedBy(info, keys)).toBeUndefined()
    expect(await verifiedBy(info, [parsePublicKey(printPublicKey(stranger))])).toBe('stranger-1')
  })

  it('of a stranger under a trusted name does not count (case 53)', async () => {
    const stranger = makeSecretKey(key1!.name)
    expect(await verifiedBy(signedBy(read(signed), sign(stranger, fingerprint(read(signed)))), keys)).toBeUndefined()
  })

  it('does not hold when anything that is signed was changed (case 49)', async () => {
    const info = read(signed)
    const other = read(contentAddressed)
    for (const key of ['storePath', 'narHash', 'narSize', 'references'] as const) {
      expect(await verifiedBy({ ...info, [key]: other[key] }, keys)).toBeUndefined()
    }
  })

  it('is by the first of two keys of one name, as in Nix (case 142)', async () => {
    const impostor = parsePublicKey(printPublicKey(makeSecretKey(key1!.name)))
    expect(await verifiedBy(read(signed), [key1!, impostor])).toBe(key1?.name)
    expect(await verifiedBy(read(signed), [impostor, key1!])).toBeUndefined()
  })

  it('is nobody’s where there is none, or no key', async () => {
    expect(await verifiedBy(read(contentAddressed), keys)).toBeUndefined()
    expect(await verifiedBy(read(signed), [])).toBeUndefined()
  })

  it('is not looked for without end', async () => {
    const [good = ''] = read(signed).signatures.map(({ line }) => line)
    const bad = Array.from({ length: 100 }, (_, i) => `${key1!.name}:${base64(new Uint8Array(64).fill(i))}`)
    expect(await verifiedBy(signedBy(read(signed), ...bad.slice(0, 31), good), keys)).toBe(key1?.name)
    expect(await verifiedBy(signedBy(read(signed), ...bad, good), keys)).toBeUndefined()
    const unknown = bad.map((line) => line.replace(key1!.name, 'unknown-1'))
    expect(await verifiedBy(signedBy(read(signed), ...unknown, good), keys)).toBe(key1?.name)
  })
})

describe('a Sig line', () => {
  it('is read and kept as it came', () => {
    const [line = ''] = read(signed).signatures.map((signature) => signature.line)
    const signature = parseSignature(line)
    expect(signature?.keyName).toBe('cache1.example.org-1')
    expect(signature?.bytes).toHaveLength(64)
    expect(signature?.line).toBe(line)
  })

  const good = base64(new Uint8Array(64).fill(7))
  it.each([
    ['nothing', ''],
    ['no colon', `name${good}`],
    ['no name', `:${good}`],
    ['no signature', 'name:'],
    ['63 bytes', `name:${base64(new Uint8Array(63))}`],
    ['65 bytes', `name:${base64(new Uint8Array(65))}`],
    ['a key', publicKey1],
    ['letters that base64 does not have', `name:${good.replace('B', '*')}`],
    ['another base64', `name:${good.slice(0, -4)}_-8=`],
    ['white space in it', `name:${good.slice(0, 40)} ${good.slice(40)}`],
    ['a second signature behind it', `name:${good} name:${good}`],
    ['two colons', `name:x:${good}`],
  ])('with %s is malformed (case 45)', (_, text) => {
    expect(parseSignature(text)).toBeUndefined()
  })
})

describe('a key', () => {
  const badConfig = (read: (text: string) => unknown, text: string): string => {
    try {
      read(text)
    } catch (error) {
      if (error instanceof ProxyError && error.code === 'bad-config') return error.message
      throw error
    }
    return 'nothing wrong'
  }

  it.each([
    ['as Nix writes it', publicKey1],
    ['with a newline and a byte order mark', `\uFEFF ${publicKey1}\r\n`],
    ['without padding', publicKey1.slice(0, -1)],
  ])('is read %s (case 142)', (_, text) => {
    const key = parsePublicKey(text)
    expect(key.name).toBe('cache1.example.org-1')
    expect(base64(key.raw)).toBe('L4beHoupYOVG1rxdz0SVDB3/m00fPl7HlluYnagDJTs=')
  })

  it.each([
    ['', 'public key: not of the form name:base64'],
    ['nonsense', 'public key: not of the form name:base64'],
    [':L4beHoupYOVG1rxdz0SVDB3/m00fPl7HlluYnagDJTs=', 'public key: not of the form name:base64'],
    ['two words:L4beHoupYOVG1rxdz0SVDB3/m00fPl7HlluYnagDJTs=', 'public key: not of the form name:base64'],
    ['name:', 'public key name: what follows the colon is not 32 bytes in base64'],
    [`${publicKey1} # mine`, 'public key cache1.example.org-1: what follows the colon is not 32 bytes in base64'],
    [
      `${publicKey1}\n${publicKey2}`,
      'public key cache1.example.org-1: what follows the colon is not 32 bytes in base64',
    ],
    [secretKey1, 'public key cache1.example.org-1: what follows the colon is not 32 bytes in base64'],
    [`name:${base64(new Uint8Array(32).fill(2))}`, 'public key name: not a point of the curve'],
  ])('%j is refused with what is wrong (case 142)', (text, why) => {
    expect(badConfig(parsePublicKey, text)).toBe(why)
  })

  it('is made, written and read, secret and public', () => {
    const secret = makeSecretKey('cache-1')
    expect(parseSecretKey(printSecretKey(secret))).toEqual(secret)
    expect(base64(parsePublicKey(printPublicKey(secret)).raw)).toBe(base64(secret.publicKey))
    expect(makeSecretKey('cache-1').seed).not.toEqual(secret.seed)
  })

  it('of Nix signs as Nix signs', () => {
    const secret = parseSecretKey(`${secretKey1}\n`)
    expect(printPublicKey(secret)).toBe(publicKey1)
    expect(printSecretKey(secret)).toBe(secretKey1)
    expect(sign(secret, fingerprint(read(signed)))).toBe(read(signed).signatures[0]?.line)
  })

  it('is not made with a name that a Sig line cannot have', () => {
    for (const name of ['', 'a:b', 'a b', 'a\n'])
      expect(badConfig(makeSecretKey, name)).toMatch(/^secret key: .* is no name/)
  })

  it('is refused when its halves are of two keys, and never quoted', () => {
    const [one, other] = [makeSecretKey('a'), makeSecretKey('a')]
    const mixed = printSecretKey({ ...one, publicKey: other.publicKey })
    expect(badConfig(parseSecretKey, mixed)).toBe('secret key a: its two halves do not belong together')
    for (const text of [secretKey1.slice(0, -8), secretKey1.replace(':', ''), secretKey1.replace(':', ': ')]) {
      expect(badConfig(parseSecretKey, text)).not.toContain('Co2d8llC1l6BY1Z')
    }
  })
})

// Both implementations of ed25519 must give one answer to whatever a stranger can make, and the one of libsodium, which Nix uses.

const order = Point.CURVE().n
const prime = Point.CURVE().p

/** Our answer (node:crypto) and that of noble in its strict mode, for 64 bytes over the fingerprint of `info`. */
async function answers(
  info: NarInfo,
  secret: SecretKey,
  bytes: Uint8Array,
): Promise<{ node: boolean; noble: boolean }> {
  const key = parsePublicKey(printPublicKey(secret))
  const node = await verifiedBy(signedBy(info, `${secret.name}:${base64(bytes)}`), [key])
  const noble = verifyByNoble(bytes, Buffer.from(fingerprint(info)), secret.publicKey, { zip215: false })
  return { node: node !== undefined, noble }
}

const littleEndian = (value: bigint) =>
  Uint8Array.from({ length: 32 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn))
const toNumber = (bytes: Uint8Array) => bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n)

/** The eight points of small order: any point times the order of the main subgroup is one of them. */
function smallOrderPoints(): Point[] {
  for (let y = 2; ; y += 1) {
    try {
      const point = Point.fromBytes(littleEndian(BigInt(y)))
      const small = point.multiplyUnsafe(order - 1n).add(point)
      const all = Array.from({ length: 8 }, (_, i) => (i === 0 ? Point.ZERO : small.multiplyUnsafe(BigInt(i))))
      if (new Set(all.map((each) => each.toHex())).size === 8) return all
    } catch {
      // Every other y is on no point.
    }
  }
}

/** A signature by the holder of the key over any R: S = r + k·a, where R = r·B plus what else was put into it. */
function signAround(secret: SecretKey, info: NarInfo, encodedR: Uint8Array, r: bigint): Uint8Array {
  const { scalar } = utils.getExtendedPublicKey(secret.seed)
  const message = Buffer.from(fingerprint(info))
  const k = toNumber(hash(etc.concatBytes(encodedR, secret.publicKey, message))) % order
  return etc.concatBytes(encodedR, littleEndian((r + k * scalar) % order))
}

/** Points of small order were refused from Node 24 on (measured on 20.20, 22.23, 24.21 and 26.10). */
const takesSmallOrder = Number(process.versions.node.split('.')[0]) < 24

describe('node:crypto and noble', () => {
  const seeds = fc.uint8Array({ minLength: 32, maxLength: 32 })
  const secrets = seeds.map((seed) => ({ name: 'k', seed, publicKey: utils.getExtendedPublicKey(seed).pointBytes }))
  const infos = fc.nat().map((narSize) => ({ ...read(signed), narSize }))
  const bytesOf = (secret: SecretKey, info: NarInfo) => parseSignature(sign(secret, fingerprint(info)))!.bytes

  it('both accept what was signed', async () => {
    await fc.assert(
      fc.asyncProperty(secrets, infos, async (secret, info) => {
        expect(await answers(info, secret, bytesOf(secret, info))).toEqual({ node: true, noble: true })
      }),
      { numRuns: 40 },
    )
  })

  it('both refuse a signature with one bit changed, and one of other data', async () => {
    await fc.assert(
      fc.asyncProperty(secrets, infos, fc.nat(511), async (secret, info, bit) => {
        const bytes = bytesOf(secret, info)
        const changed = bytes.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte))
        expect(await answers(info, secret, changed)).toEqual({ node: false, noble: false })
        expect(await answers({ ...info, narSize: info.narSize + 1 }, secret, bytes)).toEqual({
          node: false,
          noble: false,
        })
      }),
      { numRuns: 40 },
    )
  })

  it('both refuse arbitrary bytes', async () => {
    await fc.assert(
      fc.asyncProperty(secrets, infos, fc.uint8Array({ minLength: 64, maxLength: 64 }), async (secret, info, bytes) => {
        expect(await answers(info, secret, bytes)).toEqual({ node: false, noble: false })
      }),
      { numRuns: 40 },
    )
  })

  it('both refuse an S that is not reduced, though it fulfils the equation', async () => {
    await fc.assert(
      fc.asyncProperty(secrets, infos, fc.integer({ min: 1, max: 15 }), async (secret, info, times) => {
        const bytes = bytesOf(secret, info)
        const s = toNumber(bytes.subarray(32)) + BigInt(times) * order
        expect(s < 2n ** 256n).toBe(true)
        const changed = etc.concatBytes(bytes.subarray(0, 32), littleEndian(s))
        expect(await answers(info, secret, changed)).toEqual({ node: false, noble: false })
      }),
      { numRuns: 20 },
    )
  })

  const secret = parseSecretKey(secretKey1)
  const info = read(signed)

  it('both refuse an R that is not written canonically, though it fulfils the equation', async () => {
    // The neutral element is y = 1: also p + 1, and either with the sign bit of an x that is 0.
    const sign = 1n << 255n
    const spellings = [prime + 1n, 1n + sign, prime + 1n + sign].map(littleEndian)
    for (const spelling of spellings) {
      const bytes = signAround(secret, info, spelling, 0n)
      expect(await answers(info, secret, bytes)).toEqual({ node: false, noble: false })
      // It is alive: a lax verifier takes it.
      expect(verifyByNoble(bytes, Buffer.from(fingerprint(info)), secret.publicKey, { zip215: true })).toBe(true)
    }
  })

  it('agree on an R of small order', async () => {
    const [neutral, ...others] = smallOrderPoints()
    // libsodium refuses it; only the holder of the key can make one, who could as well sign properly.
    expect(await answers(info, secret, signAround(secret, info, neutral!.toBytes(), 0n))).toEqual({
      node: takesSmallOrder,
      noble: true,
    })
    expect(others).toHaveLength(7)
  })

  it('differ where only the holder of the key can make them, and ours is the answer of Nix: R with a part of small order', async () => {
    const r = 12345n
    for (const small of smallOrderPoints().slice(1)) {
      const mixed = Point.BASE.multiply(r).add(small).toBytes()
      expect(await answers(info, secret, signAround(secret, info, mixed, r))).toEqual({ node: false, noble: true })
    }
    const plain = Point.BASE.multiply(r).toBytes()
    expect(await answers(info, secret, signAround(secret, info, plain, r))).toEqual({ node: true, noble: true })
  })
})

describe('a public key that no seed leads to', () => {
  const nodeKey = (raw: Uint8Array) =>
    createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(raw).toString('base64url') } })
  const text = (raw: Uint8Array) => `k:${base64(raw)}`

  it('is refused at once when its order is small, for anybody could sign under it', () => {
    const small = smallOrderPoints()
    expect(small).toHaveLength(8)
    for (const point of small) expect(() => parsePublicKey(text(point.toBytes()))).toThrow(/small order/)
    // This is why: OpenSSL takes a signature that nobody made, until Node 24.
    const [neutral] = small
    const forged = etc.concatBytes(neutral!.toBytes(), new Uint8Array(32))
    expect(verifyByNode(null, Buffer.from('anything'), nodeKey(neutral!.toBytes()), forged)).toBe(takesSmallOrder)
    expect(verifyByNoble(forged, Buffer.from('anything'), neutral!.toBytes(), { zip215: false })).toBe(false)
  })

  it('is refused when it is not written canonically', () => {
    const sign = 1n << 255n
    for (const y of [prime, prime + 1n, prime + sign, prime + 1n + sign, 1n + sign, prime + 3n]) {
      expect(() => parsePublicKey(text(littleEndian(y)))).toThrow(/not a point of the curve/)
    }
  })

  it('is refused when a point of small order was added to it', () => {
    const point = Point.fromBytes(parsePublicKey(publicKey1).raw)
    for (const small of smallOrderPoints().slice(1)) {
      expect(() => parsePublicKey(text(point.add(small).toBytes()))).toThrow(/outside the main subgroup/)
    }
  })
})
