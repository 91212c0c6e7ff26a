// An Upstream to a server of a test, set up as a service would do it.

import { parsePublicKey } from '../../src/nix/signature.ts'
import { Upstream, type UpstreamOptions } from '../../src/upstreams/upstream.ts'
import type { SyntheticCache } from './synthetic-cache.ts'

/** Trusts the cache's key; a name, a stratum and limits can be given. Not started; the test stops it. */
export function upstreamTo(url: URL, cache: SyntheticCache, options: Partial<UpstreamOptions> = {}): Upstream {
  return new Upstream({
    name: url.host,
    url,
    storeDir: cache.storeDir,
    keys: [parsePublicKey(cache.publicKey)],
    stratum: 'test',
    peer: false,
    presence: 'stationary',
    instanceId: 'this-proxy',
    ...options,
  })
}
