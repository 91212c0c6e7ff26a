// Where things lie under the store's root, and what each file there is.
//
//   <root>/v1/                       the version of everything below; another layout gets another name
//     catalogue.sqlite               the index (with -wal and -shm). It can be lost: all else here is enough to make it again
//     catalogue.set-aside.sqlite     the last catalogue that was of no use, for a look at why
//     lock.sqlite, owner             who owns the store: see lock.ts
//     incoming/<file>.<n>            a NAR that is being written, one directory for all of them: the sweep at start reads this one only
//     incoming/<file>.<n>.narinfo    its sidecar, before it is moved
//     incoming/<file>.<n>.commit     empty; there from before the two are moved until the row is written
//     nar/sp/<file>                  a NAR file, complete and verified. <file> = <store hash>-<digest>.nar[.xz|…], see nix/nar-url.ts;
//                                    `sp` are the first two letters of the store hash: 1024 directories at most
//     nar/sp/<file>.narinfo          its narinfo as the sender gave it, in place before the NAR is
//     nar/sp/<store hash>.pinned     empty: the operator wants every NAR of this path kept, also one that comes later
//     nar/sp/<store hash>.uploaded   empty: a NAR of this path was uploaded here, and nobody else may have it
//     quarantine/<file>              the last few NARs that were altered on disk
//
// Every name is made of verified hashes: 32 and 52 lower-case letters of nix32, so any file system will do.

import { join } from 'node:path'

import type { StoreHash } from '../nix/store-path.ts'

/** Why a NAR is never evicted. */
export type Mark = 'pinned' | 'uploaded'
export const marks: readonly Mark[] = ['pinned', 'uploaded']

/** Ending of the files that say what a NAR file is. */
export const sidecarEnding = '.narinfo'
/** Ending of the files that say that a commit is under way. */
export const commitEnding = '.commit'

export class Layout {
  /** The directory of this version of the layout. */
  readonly top: string
  readonly catalogue: string
  readonly setAside: string
  readonly lock: string
  readonly owner: string
  readonly incoming: string
  readonly nars: string
  readonly quarantine: string

  constructor({ root }: { readonly root: string }) {
    this.top = join(root, 'v1')
    this.catalogue = join(this.top, 'catalogue.sqlite')
    this.setAside = join(this.top, 'catalogue.set-aside.sqlite')
    this.lock = join(this.top, 'lock.sqlite')
    this.owner = join(this.top, 'owner')
    this.incoming = join(this.top, 'incoming')
    this.nars = join(this.top, 'nar')
    this.quarantine = join(this.top, 'quarantine')
  }

  /** The directory of a NAR file or store hash: `…/v1/nar/sp`. */
  shard(name: string): string {
    return join(this.nars, name.slice(0, 2))
  }

  /** A NAR file by its file name. */
  nar(file: string): string {
    return join(this.shard(file), file)
  }

  /** The narinfo beside a NAR file. */
  sidecar(file: string): string {
    return `${this.nar(file)}${sidecarEnding}`
  }

  /** The empty file that keeps a store path's NARs from eviction. */
  mark(hash: StoreHash, mark: Mark): string {
    return join(this.shard(hash), `${hash}.${mark}`)
  }
}
