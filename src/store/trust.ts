// Whether a narinfo of ours is vouched for by the keys that are trusted now. Each row says by which set of keys it was decided.

import { createHash } from 'node:crypto'

import { provesItsPath } from '../nix/content-address.ts'
import type { NarInfo } from '../nix/narinfo.ts'
import { verifiedBy, type TrustedKeys } from '../nix/signature.ts'

/** `by`: name of the key, `ca` where the path proves itself, undefined where no keys are configured and nobody is asked. */
export interface Voucher {
  readonly by: string | undefined
}

export class Trust {
  /** Names the set of keys: the same keys in any order give the same text. Never empty. */
  readonly digest: string
  readonly #keys: TrustedKeys

  constructor({ keys }: { readonly keys: TrustedKeys }) {
    this.#keys = [...keys]
    const lines = keys.map(({ name, raw }) => `${name}:${Buffer.from(raw).toString('base64')}\n`)
    this.digest = createHash('sha256').update(lines.sort().join('')).digest('base64url').slice(0, 22)
  }

  /** What an earlier decision is worth now. Undefined: nothing, it has to be decided anew. `false`: it was refused. */
  recall({ keys, signedBy }: { readonly keys: string; readonly signedBy: string | null }): Voucher | false | undefined {
    if (this.#keys.length === 0) return { by: undefined }
    if (keys !== this.digest) return undefined
    return signedBy === null ? false : { by: signedBy }
  }

  /** Decides. False: nobody trusted vouches for it. */
  async decide(narinfo: NarInfo): Promise<Voucher | false> {
    if (this.#keys.length === 0) return { by: undefined }
    const by = (await verifiedBy(narinfo, this.#keys)) ?? (provesItsPath(narinfo) ? 'ca' : undefined)
    return by === undefined ? false : { by }
  }

  /** How a decision that somebody else made with our keys is written down. */
  written(signedBy: string | undefined): { readonly keys: string; readonly signedBy: string | null } {
    // Where keys are trusted and nobody was asked, the decision is still to be made.
    return signedBy === undefined ? { keys: '', signedBy: null } : { keys: this.digest, signedBy }
  }
}
