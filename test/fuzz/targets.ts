// All that is fuzzed.

import { cacheInfo } from './cache-info.ts'
import { narUrl } from './nar-url.ts'
import { narinfo } from './narinfo.ts'
import { range } from './range.ts'
import { requestTarget } from './request-target.ts'
import type { Target } from './target.ts'
import { toml } from './toml.ts'
import { upload } from './upload.ts'
import { upstreamHttp } from './upstream-http.ts'

export const targets: readonly Target[] = [narinfo, cacheInfo, range, narUrl, toml, requestTarget, upload, upstreamHttp]
