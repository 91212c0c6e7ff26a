// Store paths that are the same in every run, signed by a key of these tests: a corpus can only hold what does not change.

import { createHash, createPrivateKey, sign } from 'node:crypto'

import { publicKey1, secretKey1 } from '../nix/samples.ts'
import { narOfFile, nix32 } from '../support/synthetic-cache.ts'

export interface Entry {
  /** 32 letters. */
  readonly hash: string
  readonly narinfo: string
  /** The NAR file, not compressed: FileHash is NarHash. */
  readonly nar: Buffer
  readonly narHash: string
  /** Base64. */
  readonly signature: string
  /** What in the NAR is this entry's alone; as long for every entry. */
  readonly token: string
}

export const publicKey = publicKey1

const [keyName = '', secret = ''] = secretKey1.split(':')
const key = createPrivateKey({
  format: 'der',
  type: 'pkcs8',
  // RFC 8410: what stands before the 32 bytes of an ed25519 key.
  key: Buffer.concat([
    Buffer.from('302e020100300506032b657004220420', 'hex'),
    Buffer.from(secret, 'base64').subarray(0, 32),
  ]),
})

/** The entry of a number. All entries are of the same length in every part. */
export function entry(number: number, url = 'nar/the.nar'): Entry {
  const token = `entry-${String(number).padStart(10, '0')}`
  const nar = narOfFile(`${token}\n${'all work and no play\n'.repeat(20)}`)
  const narHash = nix32(createHash('sha256').update(nar).digest())
  const hash = nix32(createHash('sha256').update(token).digest().subarray(0, 20))
  const path = `/nix/store/${hash}-fuzzed`
  const fingerprint = `1;${path};sha256:${narHash};${nar.length};`
  const signature = sign(null, Buffer.from(fingerprint), key).toString('base64')
  const lines = [
    `StorePath: ${path}`,
    `URL: ${url}`,
    'Compression: none',
    `FileHash: sha256:${narHash}`,
    `FileSize: ${nar.length}`,
    `NarHash: sha256:${narHash}`,
    `NarSize: ${nar.length}`,
    'References: ',
    `Sig: ${keyName}:${signature}`,
  ]
  return { hash, narinfo: `${lines.join('\n')}\n`, nar, narHash, signature, token }
}

/** The same bytes about another entry: what was made of `from` becomes what it would be, had it been made of `to`. */
export function about(bytes: Buffer, from: Entry, to: Entry): Buffer {
  let text = bytes.toString('latin1')
  for (const part of ['hash', 'narHash', 'signature', 'token'] as const) text = text.replaceAll(from[part], to[part])
  return Buffer.from(text, 'latin1')
}
