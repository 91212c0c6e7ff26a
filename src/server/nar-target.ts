// What a request path under `nar/` asks for: a NAR under our own URL, or one under a URL that some other software has handed out.

import { parseNarFileName, type NarIdentity } from '../nix/nar-url.ts'
import type { StoreHash } from '../nix/store-path.ts'

export type NarTarget =
  | { readonly hash: StoreHash; readonly nar: NarIdentity }
  /** `nar/0f54….nar.xz?hash=…`: nothing can be read out of such a name. */
  | { readonly foreign: string }

/** What a narinfo's URL may have at most. */
const longest = 2048
/**
 * One or more plain segments, none a dotfile, and perhaps a query. Nothing is percent-decoded, so nothing can climb: an escaped
 * character in the path is refused, in the query it is passed on.
 */
const foreignPattern = /^nar(?:\/(?!\.)[\w.+=~@,:-]+)+(?:\?[\w.+=~@,:;!$'()*/?&%-]*)?$/

/**
 * Reads a request path without its leading slash. Undefined: nothing a cache has (directories, dotfiles, `nar/x.narinfo`, `..`).
 * A query after our own form means nothing.
 */
export function narTarget(path: string): NarTarget | undefined {
  const [name = ''] = path.split('?', 1)
  const ours = name.startsWith('nar/') ? parseNarFileName(name.slice('nar/'.length)) : undefined
  if (ours) return ours
  if (path.length > longest || name.endsWith('.narinfo') || !foreignPattern.test(path)) return undefined
  return { foreign: path }
}

/** Whether a NAR may be uploaded to this path (without leading slash): like a foreign one, and without a query. */
export function isNarPath(path: string): boolean {
  return path.length <= longest && !path.endsWith('.narinfo') && !path.includes('?') && foreignPattern.test(path)
}
