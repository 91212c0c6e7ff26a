// The other things that a binary cache has beside narinfos and NARs: which request paths are one of them.

import { isBaseName, isStoreHash } from './store-path.ts'

export type ResourceKind = 'log' | 'listing' | 'realisation' | 'build-trace' | 'debuginfo'

const outputName = /^(?!\.\.?(?:-|$))[0-9a-zA-Z+\-._?=]{1,211}$/

/**
 * What a request path asks for; it comes without leading slash or query, and already percent-decoded. Undefined for everything else,
 * so whatever passes is made of known parts and climbs out of nothing.
 *
 * - `log/<drv base name>`
 * - `<storeHash>.ls`
 * - `realisations/sha256:<64 hex>!<output>.doi`
 * - `build-trace-v2/<drv base name>/<output>.doi`
 * - `debuginfo/<40 hex>` or `debuginfo/<40 hex>.debug`
 */
export function resourceKind(path: string): ResourceKind | undefined {
  const [first = '', second, third, ...more] = path.split('/')
  if (more.length > 0) return undefined
  if (second === undefined) return first.endsWith('.ls') && isStoreHash(first.slice(0, -3)) ? 'listing' : undefined
  if (third !== undefined) {
    return first === 'build-trace-v2' && isDerivation(second) && isOutput(third) ? 'build-trace' : undefined
  }
  switch (first) {
    case 'log':
      return isDerivation(second) ? 'log' : undefined
    case 'realisations':
      return /^sha256:[0-9a-f]{64}!/.test(second) && isOutput(second.slice(72)) ? 'realisation' : undefined
    case 'debuginfo':
      return /^[0-9a-f]{40}(?:\.debug)?$/.test(second) ? 'debuginfo' : undefined
    default:
      return undefined
  }
}

function isDerivation(text: string): boolean {
  return text.endsWith('.drv') && isBaseName(text)
}

/** `<output>.doi`, where the output's name follows the rules of a store path's name. */
function isOutput(text: string): boolean {
  return text.endsWith('.doi') && outputName.test(text.slice(0, -4))
}
