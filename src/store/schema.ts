// The tables of the catalogue.
//
// One row is one promise: a narinfo and the NAR file it names. `size` tells whether we hold that file; without it the row is only a
// narinfo that was seen. What the hot questions need has an index that stays small: the least recently used NAR, the oldest narinfo.

import type Database from 'better-sqlite3'

/** Written into the file (`user_version`). Any other number: the catalogue is set aside and made again from the files. */
export const schemaVersion = 1

/** Bits of `kept`: one for every mark of layout.ts. */
export const keptBits = { pinned: 1, uploaded: 2 } as const

const tables = `
CREATE TABLE entries (
  id INTEGER PRIMARY KEY,
  hash TEXT NOT NULL,            -- store hash
  nar TEXT NOT NULL,             -- what follows it and a dash in the file name: <digest>.nar[.xz|…]
  narinfo TEXT NOT NULL,         -- as printNarInfo prints it, with its sender's URL
  url TEXT NOT NULL,             -- its URL field
  source TEXT NOT NULL,          -- name of the substituter that gave it
  signed_by TEXT,                -- name of the trusted key that vouched, \`ca\`, or null
  keys TEXT NOT NULL,            -- digest of the set of trusted keys that this was decided by; '' when nobody has decided
  recorded_at INTEGER NOT NULL,  -- ms since 1970
  size INTEGER,                  -- bytes of the NAR file; null: not held
  checked TEXT,                  -- 'nar': NarHash was proved; 'file': only FileHash
  last_access INTEGER,           -- µs since 1970 by a clock that never goes back
  kept INTEGER NOT NULL,         -- keptBits
  UNIQUE (hash, nar)
) STRICT;
CREATE INDEX entries_by_url ON entries (url);
CREATE INDEX entries_evictable ON entries (last_access) WHERE size IS NOT NULL AND kept = 0;
CREATE INDEX entries_bare ON entries (recorded_at) WHERE size IS NULL;

-- Store hashes that must not be evicted, whether something of them is here or not.
CREATE TABLE marks (hash TEXT PRIMARY KEY, kept INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- Sums, so that nobody ever counts rows.
CREATE TABLE totals (bytes INTEGER NOT NULL, kept_bytes INTEGER NOT NULL, nars INTEGER NOT NULL, bare INTEGER NOT NULL) STRICT;
INSERT INTO totals VALUES (0, 0, 0, 0);
CREATE TRIGGER entries_added AFTER INSERT ON entries BEGIN ${count('+', 'new')}; END;
CREATE TRIGGER entries_removed AFTER DELETE ON entries BEGIN ${count('-', 'old')}; END;
CREATE TRIGGER entries_changed AFTER UPDATE OF size, kept ON entries BEGIN ${count('-', 'old')}; ${count('+', 'new')}; END;
`

function count(sign: '+' | '-', row: 'new' | 'old'): string {
  return `UPDATE totals SET
    bytes = bytes ${sign} coalesce(${row}.size, 0),
    kept_bytes = kept_bytes ${sign} iif(${row}.kept = 0, 0, coalesce(${row}.size, 0)),
    nars = nars ${sign} (${row}.size IS NOT NULL),
    bare = bare ${sign} (${row}.size IS NULL)`
}

/** Makes the tables in an empty database. False: it has tables of another version. Throws SqliteError when it is no database. */
export function prepareSchema(database: Database.Database): boolean {
  const version = database.pragma('user_version', { simple: true })
  if (version === schemaVersion) return true
  const empty = database.prepare('SELECT count(*) FROM sqlite_schema').pluck().get() === 0
  if (version !== 0 || !empty) return false
  database.transaction(() => {
    database.exec(tables)
    database.pragma(`user_version = ${schemaVersion}`)
  })()
  return true
}
