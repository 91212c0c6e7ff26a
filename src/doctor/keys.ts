// Whether each trusted key is one that somebody signs with, as far as a few held paths can tell.

import type { NarInfo } from '../nix/narinfo.ts'
import { verifiedBy, type TrustedKey, type TrustedKeys } from '../nix/signature.ts'
import type { StoreHash } from '../nix/store-path.ts'
import type { Finding } from './finding.ts'

/** Paths of the sample for each key that held narinfos carry, and in all. */
const [ofEachKey, most] = [2, 12]

/** Which of the held paths to ask about: such as each key has signed, as far as there are any, then others. */
export function sampleFor(keys: TrustedKeys, held: readonly NarInfo[]): readonly StoreHash[] {
  const chosen = new Set<StoreHash>()
  for (const { name } of keys) {
    const signed = held.filter(({ signatures }) => signatures.some(({ keyName }) => keyName === name))
    for (const { storePath } of signed.slice(0, ofEachKey)) chosen.add(storePath.hash)
  }
  for (const { storePath } of held) if (chosen.size < most) chosen.add(storePath.hash)
  return [...chosen].slice(0, Math.max(most, ofEachKey * keys.length))
}

export interface Heard {
  /** How many paths were asked about; 0: nothing is held. */
  readonly asked: number
  /** What the caches have of them, unverified. */
  readonly narinfos: readonly NarInfo[]
}

/** A key that nobody signs with does no harm, but is usually a mistake; a wrong one under a right name always is. */
export async function judgeKeys(keys: TrustedKeys, heard: Heard): Promise<readonly Finding[]> {
  if (keys.length === 0) {
    const says = 'none is trusted: nothing that comes from upstreams or peers is verified here'
    return [{ level: 'warning', about: 'keys', says, do: 'Name the keys of your caches in trust.keys' }]
  }
  const { asked, narinfos } = heard
  if (narinfos.length === 0) {
    const why =
      asked === 0 ? 'nothing is held yet that they could be asked about' : `nobody has any of ${asked} held paths now`
    return [{ level: 'note', about: 'keys', says: `whether somebody signs with them cannot be told: ${why}` }]
  }
  return Promise.all(keys.map((key) => judgeKey(key, heard)))
}

async function judgeKey(key: TrustedKey, { asked, narinfos }: Heard): Promise<Finding> {
  const about = `key ${key.name}`
  const inItsName = narinfos.filter(({ signatures }) => signatures.some(({ keyName }) => keyName === key.name))
  const verified = await Promise.all(inItsName.map((narinfo) => verifiedBy(narinfo, [key])))
  const right = verified.filter((name) => name !== undefined).length
  if (right > 0)
    return { level: 'ok', about, says: `signs ${right} of ${narinfos.length} narinfos that were looked at` }
  if (inItsName.length > 0) {
    const action = 'Compare it with the key that the cache publishes: one letter suffices'
    return { level: 'problem', about, says: 'signatures of this name are there, and none is by this key', do: action }
  }
  const says = `no cache's narinfo of ${asked} held paths carries a signature of it`
  return {
    level: 'warning',
    about,
    says,
    do: 'Remove it if its owner no longer signs what you use; a small sample proves little',
  }
}
