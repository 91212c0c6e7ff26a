// Why a narinfo's signatures do not count, in a few words: for trails, and for whoever wonders which key is missing.

import type { NarInfo } from '../nix/narinfo.ts'
import type { TrustedKeys } from '../nix/signature.ts'

/** Names of keys that are said, and letters of each: they are a stranger's. */
const mostNames = 5
const mostLetters = 60

/** `no signature of a trusted key, only of cache.example.org-1`. For a narinfo that no trusted key vouches for. */
export function whyUntrusted({ signatures }: NarInfo, keys: TrustedKeys): string {
  const names = [...new Set(signatures.map(({ keyName }) => keyName))]
  const wrong = names.filter((name) => keys.some((key) => key.name === name))
  if (names.length === 0) return 'no signature of a trusted key: it has none'
  if (wrong.length > 0) return `no signature of a trusted key: that of ${listed(wrong)} is wrong`
  return `no signature of a trusted key, only of ${listed(names)}`
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, mostNames).map((name) => name.slice(0, mostLetters))
  const more = names.length - shown.length
  return [...shown, ...(more > 0 ? [`${more} more`] : [])].join(', ')
}
