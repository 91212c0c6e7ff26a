// A store path on the command line.

import { isStoreHash, parseStorePath, type StoreHash } from '../nix/store-path.ts'
import { WrongUse, type CommandName } from './arguments.ts'

/** The hash of a store path, of its base name, or a bare hash; and the text to show. Throws WrongUse. */
export function hashOf(text: string, storeDir: string, command: CommandName): readonly [StoreHash, string] {
  if (isStoreHash(text)) return [text, text]
  const path = parseStorePath(text.startsWith('/') ? text : `${storeDir}/${text}`, storeDir)
  if (path === undefined)
    throw new WrongUse(`${JSON.stringify(text)} is not a store path in ${storeDir}, or its hash`, command)
  return [path.hash, path.path]
}
