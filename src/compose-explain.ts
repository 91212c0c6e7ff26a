// How a path is explained: everybody is asked anew, and what the store holds is looked up beside it.

import { randomBytes } from 'node:crypto'

import { composeStrata, type Outside } from './compose-strata.ts'
import type { Config } from './config.ts'
import { readCredentials, type Credentials } from './credentials.ts'
import { explain, type Explanation, type Findings } from './explanation.ts'
import type { Log } from './log.ts'
import { encodeBase32 } from './nix/base32.ts'
import type { StoreHash } from './nix/store-path.ts'
import { ownerOf, peek } from './store/dossier.ts'
import type { Asking } from './substituter.ts'

export interface Explained {
  readonly config: Config
  readonly credentials: Credentials
  readonly far: Pick<Outside, 'survey' | 'status'>
  /** What the store holds of it, and what it remembers. */
  readonly look: (hash: StoreHash) => Promise<Pick<Findings, 'held' | 'remembered'>>
}

/** What the world says about a path now. No NAR is opened, and nothing is kept. */
export async function explainWith(
  { config, credentials, far, look }: Explained,
  hash: StoreHash,
  asking: Pick<Asking, 'signal' | 'loop'>,
): Promise<Explanation> {
  const askedAt = Date.now()
  const began = performance.now()
  const [strata, { held, remembered }] = await Promise.all([far.survey(hash, asking), look(hash)])
  return explain({
    hash,
    storeDir: config.server.storeDir,
    keys: credentials.keys,
    unreachable: config.server.unreachable,
    askedAt,
    took: performance.now() - began,
    held,
    remembered,
    strata,
    addressees: far
      .status()
      .flatMap(({ name: stratum, substituters }) =>
        substituters.map(({ name, url, peer, lastFailure }) => ({ name, stratum, url, peer, lastFailure })),
      ),
  })
}

export interface OwnExplanation {
  readonly explanation: Explanation
  /** Who says to have the store, whose files were read all the same. */
  readonly owner: string | undefined
}

/**
 * The same without a running proxy: asks by the configuration, and reads the files of the store without its lock. Rejects with ProxyError
 * `bad-config`.
 */
export async function explainAlone(
  config: Config,
  { stateDir, version, log }: { readonly stateDir: string; readonly version: string; readonly log: Log },
  hash: StoreHash,
  signal: AbortSignal,
): Promise<OwnExplanation> {
  const credentials = await readCredentials(config)
  const far = composeStrata(config, credentials, { instanceId: encodeBase32(randomBytes(32)), version, log })
  const root = config.store.path ?? stateDir
  const { storeDir } = config.server
  try {
    const look = async () => ({
      held: await peek(root, hash, { storeDir, keys: credentials.keys }),
      remembered: undefined,
    })
    const explanation = await explainWith({ config, credentials, far, look }, hash, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(config.server.deadline)]),
      loop: [],
    })
    return { explanation, owner: await ownerOf(root) }
  } finally {
    await far.stop()
  }
}
