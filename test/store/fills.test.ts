// Fills: who wants the same bytes joins the one who is fetching them; who comes after a failure tries afresh.

import { mkdtemp, open, rm, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { expect, onTestFinished, test } from 'vitest'

import { ProxyError } from '../../src/errors.ts'
import { parseNarInfo } from '../../src/nix/narinfo.ts'
import type { Fill } from '../../src/store/fill.ts'
import { Fills } from '../../src/store/fills.ts'
import { Verifier } from '../../src/store/verifier.ts'
import type { Substitute } from '../../src/substituter.ts'
import { SyntheticCache } from '../support/synthetic-cache.ts'

async function made(failed: (fill: Fill) => void = () => {}): Promise<Fills> {
  const dir = await mkdtemp(join(tmpdir(), 'substrata-fills-'))
  const verifier = new Verifier({ threads: 1 })
  onTestFinished(async () => {
    await verifier.close()
    await rm(dir, { recursive: true })
  })
  let serial = 0
  return new Fills({
    verifier,
    failed,
    reserve: async () => {
      const path = join(dir, String(++serial))
      const file = await open(path, 'wx+')
      const discard = (): Promise<void> => unlink(path).catch(() => {})
      return { file, path, grow: () => Promise.resolve(), commit: discard, discard }
    },
  })
}

function substitute(open: Substitute['open']): Substitute {
  const entry = new SyntheticCache().add()
  return { narinfo: parseNarInfo(entry.narinfo, '/nix/store'), from: 'one', signedBy: undefined, peer: false, open }
}

const nobody = (): Promise<undefined> => Promise.resolve(undefined)

test('the same NAR is one fill, another NAR another', async () => {
  const fills = await made()
  const hanging: Substitute['open'] = (_, signal) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(new ProxyError('aborted', 'stopped')))
    })
  const [one, two] = [substitute(hanging), substitute(hanging)]
  expect(fills.join(one, nobody)).toBe(fills.join(one, nobody))
  expect(fills.join(two, nobody)).not.toBe(fills.join(one, nobody))
  expect(fills.running(one)).toBeDefined()
  expect(fills.status().length).toBe(2)
  await fills.close(AbortSignal.abort())
  expect(fills.status()).toEqual([])
})

test('a failed fill is told of, and not joined again', async () => {
  const failures: (string | undefined)[] = []
  const fills = await made((fill) => failures.push(fill.failure?.code))
  const gone = substitute(() => Promise.reject(new ProxyError('gone', 'one: 404')))
  const first = fills.join(gone, nobody)
  await expect(first.opened).rejects.toMatchObject({ code: 'gone' })
  const second = fills.join(gone, nobody)
  expect(second).not.toBe(first)
  await second.over
  await fills.close(new AbortController().signal)
  expect(failures).toEqual(['gone', 'gone'])
})
