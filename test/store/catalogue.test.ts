// Every question to the catalogue costs the same, whether it has a thousand rows or a million: an index answers it.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type Database from 'better-sqlite3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { Catalogue, questions, type NarinfoRow } from '../../src/store/catalogue.ts'
import { Sqlite } from '../../src/store/sqlite.js'
import { storeHash } from '../support/substituter-conformance.ts'

let dir: string
let catalogue: Catalogue

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'substrata-catalogue-'))
  catalogue = Catalogue.open(join(dir, 'catalogue.sqlite'))!
})

afterAll(async () => {
  catalogue.close()
  await rm(dir, { recursive: true })
})

function row(number: number, more: Partial<NarinfoRow> = {}): NarinfoRow {
  const hash = storeHash(String(number).padStart(32, '0'))
  const url = `nar/${number}.nar`
  return {
    hash,
    nar: 'a.nar',
    narinfo: 'text',
    url,
    source: 'x',
    signedBy: null,
    keys: '',
    recordedAt: number,
    ...more,
  }
}

/** What SQLite will do, a line a step. */
function plan(database: Database.Database, question: string): readonly string[] {
  const names = [...question.matchAll(/@(\w+)/g)].map(([, name]) => [name, 0])
  const places = [...question.matchAll(/\?/g)].map(() => 0)
  const statement = database.prepare<unknown[], { detail: string }>(`EXPLAIN QUERY PLAN ${question}`)
  return statement.all(...(names.length > 0 ? [Object.fromEntries(names)] : places)).map(({ detail }) => detail)
}

describe('no table is searched from end to end', () => {
  test.each(Object.entries(questions))('by %s', (_name, question) => {
    const database = new Sqlite(join(dir, 'catalogue.sqlite'), { readonly: true })
    const steps = plan(database, question)
    database.close()

    // In the order of an index, so as many as are asked for; `totals` has one row.
    const allowed = /^SCAN (entries USING (COVERING )?INDEX entries_(evictable|bare)|totals)$/
    expect(steps.filter((step) => step.startsWith('SCAN') && !allowed.test(step))).toEqual([])
    // Sorting is for the few rows of one path or URL.
    const sorts = steps.some((step) => step.includes('TEMP B-TREE'))
    const few = /^SEARCH entries USING INDEX \S+ \((hash|url)=\?\)$/.test(steps[0] ?? '')
    expect({ sorts, few }).not.toEqual({ sorts: true, few: false })
  })
})

test('sums are right whatever happens to rows', () => {
  const held = { size: 100, checked: 'nar', lastAccess: 1 } as const
  catalogue.hold({ ...row(1), ...held })
  catalogue.hold({ ...row(2), ...held })
  catalogue.hold({ ...row(2), ...held, size: 150 })
  catalogue.write({ accesses: [], narinfos: [row(3), row(2), row(4)], verdicts: [] }, 100)
  catalogue.setMark(row(1).hash, 1)
  expect(catalogue.totals()).toEqual({ bytes: 250, keptBytes: 100, nars: 2, bare: 2 })

  catalogue.setMark(row(5).hash, 2)
  catalogue.hold({ ...row(5), ...held })
  const [first] = catalogue.heldAfter(0, 1)
  if (!first) throw new Error('no row is held')
  catalogue.releaseAll([{ ...first, ...row(2) }])
  expect(catalogue.totals().nars).toBe(3)
  catalogue.releaseAll([first, first])
  catalogue.release(first)
  catalogue.hold({ ...row(3), ...held })
  expect(catalogue.totals()).toEqual({ bytes: 350, keptBytes: 100, nars: 3, bare: 2 })

  catalogue.setMark(row(5).hash, 0)
  catalogue.write({ accesses: [], narinfos: [row(6)], verdicts: [] }, 1)
  expect(catalogue.totals()).toEqual({ bytes: 350, keptBytes: 0, nars: 3, bare: 1 })
  expect(catalogue.row(row(6))).toBeDefined()
  expect(catalogue.row(row(1))).toBeUndefined()
})

test('the least recently used come first, and nothing that is kept', () => {
  const held = { size: 100, checked: 'nar' } as const
  for (const number of [11, 12, 13, 14]) catalogue.hold({ ...row(number), ...held, lastAccess: number - 100 })
  catalogue.setMark(row(12).hash, 1)
  catalogue.write({ accesses: [{ ...row(11), at: 1000 }], narinfos: [], verdicts: [] }, 100)

  expect(catalogue.leastRecent(2).map(({ hash }) => hash)).toEqual([row(13).hash, row(14).hash])
  expect(catalogue.latestAccess()).toBe(1000)
})
