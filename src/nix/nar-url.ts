// The URLs under which we hand out NARs, and the file names under which we keep them.
//
// `nar/sp69qifh9883ihs597ic0b4l257lv18n-0zsjccqyvyl2n468sbd7z9r8kjrzlgvdsk7fiai6vdvzdc2ssskg.nar.zst` names the store path whose
// narinfo was signed and the exact bytes. So it can be answered though nothing is known but the URL (clients remember it for 30
// days), and it is the same on every node.

import { compressionOfExtension, extensionOf, type Compression } from './compression.ts'
import { isSha256, type Sha256 } from './hash.ts'
import type { NarInfo } from './narinfo.ts'
import { isStoreHash, type StoreHash } from './store-path.ts'

/** Which bytes a NAR file is made of: its compression, and FileHash, or NarHash where the narinfo gives no FileHash. */
export interface NarIdentity {
  readonly digest: Sha256
  readonly compression: Compression
}

// 32 letters of store hash, a dash, 52 letters of digest.
const namePattern = /^(.{32})-(.{52})\.nar(|\.[a-z0-9]+)$/

/** Which bytes a narinfo promises. */
export function narIdentity(info: NarInfo): NarIdentity {
  return { digest: info.fileHash ?? info.narHash, compression: info.compression }
}

/** Whether two promises are about the same bytes. */
export function sameNar(a: NarIdentity, b: NarIdentity): boolean {
  return a.digest === b.digest && a.compression === b.compression
}

/** Our URL for the NAR of a narinfo, relative to the cache's root, without leading slash. */
export function narUrl(info: NarInfo): string {
  return narFileUrl(narFileName(info.storePath.hash, narIdentity(info)))
}

/** Our URL for a NAR by its file name. */
export function narFileUrl(name: string): string {
  return `nar/${name}`
}

/** `<storeHash>-<digest>.nar[.xz|.zst|…]` */
export function narFileName(hash: StoreHash, nar: NarIdentity): string {
  return `${hash}-${nar.digest}.nar${extensionOf(nar.compression)}`
}

/** The reverse of `narFileName`; undefined for every name that it does not give. */
export function parseNarFileName(name: string): { readonly hash: StoreHash; readonly nar: NarIdentity } | undefined {
  const [, hash = '', digest = '', extension = ''] = namePattern.exec(name) ?? []
  const compression = compressionOfExtension(extension)
  if (!isStoreHash(hash) || !isSha256(digest) || !compression) return undefined
  return { hash, nar: { digest, compression } }
}
