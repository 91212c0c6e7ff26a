// This node's ed25519 key: who we are to other proxies. It says nothing about the store paths we serve; we sign none of them.

import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'

import { sign } from '@noble/ed25519'

import { messageOf, ProxyError } from './errors.ts'
import { encodeBase32 } from './nix/base32.ts'
import { makeSecretKey, parseSecretKey, printSecretKey, type SecretKey } from './nix/signature.ts'

export interface Identity {
  /** The public key in nix32, 52 letters: a token of HTTP, so it can stand in CDN-Loop (RFC 8586) as it is. */
  readonly id: string
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /** Signs a message: 64 bytes (RFC 8032). */
  sign(message: Uint8Array): Uint8Array
}

/** The name in front of the key in its file; nobody trusts keys by this name. */
const keyName = 'substrata-identity-1'

/**
 * Reads the key from a file in Nix's secret key format (`substrata-identity-1:<base64>`), or makes one there: mode 0600, in a
 * directory of mode 0700 if it must be made. A damaged file is never replaced silently, because others may know us by it: it throws
 * a ProxyError `bad-config`; `store-failed` when the file cannot be read or written. The caller owns the directory by a lock.
 */
export async function loadIdentity(file: string): Promise<Identity> {
  const { seed, publicKey } = (await readSecretKey(file)) ?? (await writeSecretKey(file))
  return { id: encodeBase32(publicKey), publicKey, sign: (message) => sign(message, seed) }
}

async function readSecretKey(file: string): Promise<SecretKey | undefined> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw failed(file, error)
  }
  try {
    return parseSecretKey(text)
  } catch (error) {
    const hint = 'restore it, or remove it to become a new node'
    throw new ProxyError('bad-config', `identity ${file}: ${messageOf(error)}; ${hint}`, { cause: error })
  }
}

/** Written beside its place and renamed, so that a crash leaves no half a key. */
async function writeSecretKey(file: string): Promise<SecretKey> {
  const key = makeSecretKey(keyName)
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 })
    const temporary = await open(`${file}.new`, 'w', 0o600)
    try {
      await temporary.writeFile(`${printSecretKey(key)}\n`)
      await temporary.sync()
    } finally {
      await temporary.close()
    }
    await rename(`${file}.new`, file)
  } catch (error) {
    throw failed(file, error)
  }
  return key
}

function failed(file: string, error: unknown): ProxyError {
  return new ProxyError('store-failed', `identity ${file}: ${messageOf(error)}`, { cause: error })
}
