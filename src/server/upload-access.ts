// Who may upload: those with HTTP Basic credentials, as Nix sends them from netrc, and those at certain addresses.

import { createHash, timingSafeEqual } from 'node:crypto'

import { addressBlocks } from './address-blocks.ts'

export interface UploadRules {
  /** `login:password` each. */
  readonly credentials: readonly string[]
  /**
   * `192.0.2.0/24`, `2001:db8::/32`, each with its prefix length. Whoever connects from there needs no credentials: behind a reverse
   * proxy that is the proxy's own address, and so everybody.
   */
  readonly addresses: readonly string[]
}

/**
 * Makes `Uploads.allowed`: one good credential or one fitting address suffices; without any rule nobody may. How long it takes to say
 * no does not depend on how much of a password was right. Throws `bad-config` for an address that is none.
 */
export function uploadAccess({
  credentials,
  addresses,
}: UploadRules): (authorization: string | undefined, remoteAddress: string) => boolean {
  const digests = credentials.map(digest)
  const near = addressBlocks('uploads', addresses)
  const known = (authorization: string): boolean => {
    const { sent } = /^Basic +(?<sent>[A-Za-z0-9+/]+=*)$/i.exec(authorization)?.groups ?? {}
    if (sent === undefined) return false
    const given = digest(Buffer.from(sent, 'base64').toString())
    // All of them each time, and digests of equal length: no early end tells which one was close.
    return digests.map((expected) => timingSafeEqual(expected, given)).includes(true)
  }
  return (authorization, remoteAddress) => (authorization !== undefined && known(authorization)) || near(remoteAddress)
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
