// The file `nix-cache-info`, by which a binary cache says whose store it serves and how eagerly it wants to be asked.

export interface CacheInfo {
  readonly storeDir: string | undefined
  readonly wantMassQuery: boolean
  /** Lower is asked first. */
  readonly priority: number | undefined
}

/**
 * Reads a nix-cache-info as leniently as Nix does: unknown lines mean nothing, values are trimmed, the last of several counts.
 * Never throws; a Priority that is not a small whole number counts as none.
 */
export function parseCacheInfo(text: string): CacheInfo {
  const values = new Map<string, string>()
  for (const line of text.replace(/^\uFEFF/, '').split('\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) values.set(line.slice(0, colon), line.slice(colon + 1).trim())
  }
  const priority = values.get('Priority') ?? ''
  return {
    storeDir: values.get('StoreDir') || undefined,
    wantMassQuery: values.get('WantMassQuery') === '1',
    priority: /^[0-9]{1,9}$/.test(priority) ? Number(priority) : undefined,
  }
}

/**
 * Writes our own nix-cache-info. The priority must be a whole number: a client that reads anything else there ends its whole
 * command, so a TypeError is thrown instead.
 */
export function printCacheInfo(info: {
  readonly storeDir: string
  readonly wantMassQuery: boolean
  readonly priority: number
}): string {
  if (!Number.isSafeInteger(info.priority)) throw new TypeError(`priority is not a whole number: ${info.priority}`)
  return `StoreDir: ${info.storeDir}\nWantMassQuery: ${info.wantMassQuery ? 1 : 0}\nPriority: ${info.priority}\n`
}
