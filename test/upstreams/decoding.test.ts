import { Readable } from 'node:stream'
import { brotliCompressSync, gzipSync } from 'node:zlib'

import { expect, test } from 'vitest'
import { compress } from 'zstd-napi'

import { decoded, readText } from '../../src/upstreams/decoding.ts'

const text = 'StorePath: /nix/store/x\n'.repeat(20_000)
const encode = { gzip: gzipSync, 'x-gzip': gzipSync, br: brotliCompressSync, zstd: compress, identity: Buffer.from }

/** Bytes as they come from a socket: in pieces. */
function inPieces(bytes: Uint8Array, size = 1000): Readable {
  const pieces: Uint8Array[] = []
  for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size))
  return Readable.from(pieces)
}

test.each(Object.entries(encode))('case 42: %s is taken off', async (encoding, encoder) => {
  const body = inPieces(encoder(Buffer.from(text)))
  expect(await readText(decoded(body, encoding.toUpperCase()), 1_000_000)).toBe(text)
})

test('case 42: several zstd frames one after the other are one text', async () => {
  const body = inPieces(Buffer.concat([compress(Buffer.from('one ')), compress(Buffer.from('two'))]), 3)
  expect(await readText(decoded(body, 'zstd'), 100)).toBe('one two')
})

test.each(['gzip', 'br', 'zstd'] as const)('case 42: a %s bomb is given up at the limit', async (encoding) => {
  const body = inPieces(encode[encoding](Buffer.alloc(20_000_000)))
  const closed = new Promise((resolve) => body.on('error', () => {}).once('close', resolve))
  await expect(readText(decoded(body, encoding), 1_000_000)).rejects.toMatchObject({ code: 'bad-narinfo' })
  await closed
})

test.each(['gzip', 'br', 'zstd'] as const)('%s that is cut or no %s at all is damaged', async (encoding) => {
  const whole = encode[encoding](Buffer.from(text))
  for (const bytes of [whole.subarray(0, whole.length - 5), Buffer.from('<html>log in</html>')]) {
    await expect(readText(decoded(inPieces(bytes), encoding), 1_000_000)).rejects.toMatchObject({ code: 'damaged' })
  }
})

test.each(['gzip', 'br', 'zstd'] as const)(
  'what breaks the connection below %s is thrown as it is',
  async (encoding) => {
    const broken = new Error('connection reset')
    async function* body(): AsyncGenerator<Uint8Array> {
      yield encode[encoding](Buffer.from(text)).subarray(0, 10)
      throw broken
    }
    await expect(readText(decoded(body(), encoding), 1_000_000)).rejects.toBe(broken)
  },
)

test('an encoding that we do not know is refused at once', () => {
  for (const encoding of ['compress', 'gzip, br', 'aes']) {
    expect(() => decoded(inPieces(Buffer.from('x')), encoding)).toThrow(expect.objectContaining({ code: 'damaged' }))
  }
})

test('case 41: a text that is too long is given up, and its source closed', async () => {
  const body = inPieces(Buffer.from(text))
  await expect(readText(body, 5000)).rejects.toMatchObject({ code: 'bad-narinfo' })
  expect(body.destroyed).toBe(true)
})

test('what is not UTF-8 is no text', async () => {
  await expect(readText(inPieces(Buffer.from([0x61, 0xff])), 100)).rejects.toMatchObject({ code: 'bad-narinfo' })
})

test('letters that are cut between two pieces stay whole', async () => {
  expect(await readText(inPieces(Buffer.from('für'), 2), 100)).toBe('für')
})
