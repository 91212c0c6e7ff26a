// What an upstream can do wrong, and how each of it looks at each moment of an answer: the rows of the fault matrix.

import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { gzipSync } from 'node:zlib'

import { compress as zstdSync } from 'zstd-napi'

import type { Behaviour } from './scripted-upstream.ts'
import { nix32, SyntheticCache, type SyntheticEntry } from './synthetic-cache.ts'

/** One way to be struck at one moment. */
export type Strike =
  /** It does this to the one request in question. */
  | { readonly does: (entry: SyntheticEntry, other: SyntheticEntry) => Behaviour; readonly late?: true }
  /** The whole host: nobody listens, or nobody accepts. */
  | { readonly host: 'gone' | 'deaf' }
  /** It has these files, which fit each other but not what was signed. */
  | { readonly lies: (entry: SyntheticEntry, files: SyntheticCache['files']) => Buffer; readonly late: true }
  /** There is no such cell, because: */
  | { readonly none: string }

export interface Fault {
  readonly name: string
  /** It never comes to an end by itself: only a good one beside it, or our own patience, ends the wait. */
  readonly hangs?: true
  /** It says that there is no such NAR, and nothing about itself. */
  readonly denies?: true
  /** The answer to the question for a narinfo. */
  readonly narinfo: Strike
  /** The answer to the question for a NAR, from its head on. */
  readonly first: Strike
  /** The second half of a NAR whose first half was right. */
  readonly middle: Strike
  /** The answer to the question for the second half, after somebody else has died. */
  readonly resume: Strike
}

/**
 * Does this. `late`: what it sends has gone out to the clients before anything but the hash of the whole could tell that it is wrong, so
 * no other source can help those who have it; with a good one they may be broken off, and whoever asks next may not.
 */
function does(what: Behaviour | ((entry: SyntheticEntry, other: SyntheticEntry) => Behaviour), late?: 'late'): Strike {
  return { does: typeof what === 'function' ? what : () => what, ...(late ? { late: true } : {}) }
}

function none(why: string): Strike {
  return { none: why }
}

/** The same answer, whatever it was that was asked. */
function always(behaviour: Behaviour): Pick<Fault, 'narinfo' | 'first' | 'middle' | 'resume'> {
  const answer = does(behaviour)
  return { narinfo: answer, first: answer, middle: none('it stands in the head of an answer'), resume: answer }
}

const narinfoOnly = none('it is a fault of narinfos')
const isHead = none('it stands in the head of an answer')

export const faults: readonly Fault[] = [
  {
    name: 'refused',
    narinfo: { host: 'gone' },
    first: { host: 'gone' },
    middle: none('it happens to new connections: to one that stands, see reset'),
    resume: { host: 'gone' },
  },
  {
    name: 'hung on connect',
    hangs: true,
    narinfo: { host: 'deaf' },
    first: { host: 'deaf' },
    middle: none('it happens to new connections: to one that stands, see hung after headers'),
    resume: { host: 'deaf' },
  },
  { name: 'hung before headers', hangs: true, ...always({ never: true }) },
  {
    name: 'hung after headers',
    hangs: true,
    narinfo: does({ stallAfter: 0 }),
    first: does({ stallAfter: 0 }),
    middle: does({ stallAfter: 150_000 }),
    resume: does({ stallAfter: 0 }),
  },
  {
    name: 'reset',
    narinfo: does({ hangUp: 'reset' }),
    first: does({ hangUp: 'reset' }),
    middle: does({ cutAfter: 150_000, reset: true }),
    resume: does({ hangUp: 'reset' }),
  },
  {
    name: '1 byte a second',
    hangs: true,
    narinfo: does({ drip: { bytes: 1, every: 1000 } }),
    first: does({ drip: { bytes: 1, every: 1000 } }),
    middle: does({ drip: { bytes: 1, every: 1000 } }),
    resume: does({ drip: { bytes: 1, every: 1000 } }),
  },
  { name: '500', ...always({ status: 500, body: 'oops' }) },
  { name: '503 with Retry-After', ...always({ status: 503, headers: { 'retry-after': '1' }, body: 'later' }) },
  { name: '429', ...always({ status: 429, headers: { 'retry-after': '1' }, body: 'slowly' }) },
  { name: '401', ...always({ status: 401, body: 'who are you?' }) },
  { name: '403', denies: true, ...always({ status: 403, body: 'no' }) },
  { name: 'a redirect to a login page', ...always({ redirect: '/login' }) },
  { name: '200 with HTML', ...always({ status: 200, html: true, ignoreRange: true }) },
  {
    name: 'unsigned',
    narinfo: does(({ narinfo }) => ({ body: narinfo.replace(/^Sig: .*\n/m, '') })),
    first: narinfoOnly,
    middle: narinfoOnly,
    resume: narinfoOnly,
  },
  {
    name: 'signed by a stranger',
    narinfo: does(({ hash }) => ({ body: new SyntheticCache({ keyName: 'stranger-1' }).add({ hash }).narinfo })),
    first: narinfoOnly,
    middle: narinfoOnly,
    resume: narinfoOnly,
  },
  {
    name: 'a narinfo of another path',
    // With a good signature, for what it is.
    narinfo: does((_, other) => ({ body: other.narinfo })),
    first: narinfoOnly,
    middle: narinfoOnly,
    resume: narinfoOnly,
  },
  {
    name: 'an endless body',
    narinfo: does(({ narinfo }) => ({ body: narinfo, endless: true })),
    // Nothing of it is right, from its first byte on.
    first: does({ body: '', endless: true }, 'late'),
    middle: does({ endless: true }),
    resume: does({ endless: true }),
  },
  {
    name: 'a wrong length',
    narinfo: does(({ narinfo }) => ({ body: narinfo.slice(0, -20) })),
    first: does(({ file }) => ({ body: file.subarray(0, -100) })),
    // Without a length a clean end says that this was all. FileSize and FileHash say otherwise, but a cache that compresses anew leaves these
    // as they were, and is right (cases 32 and 71): only NarHash tells, once there is nothing more to go on with.
    middle: does({ chunked: true, endAfter: 200_000 }, 'late'),
    resume: does({ chunked: true, endAfter: 1000 }),
  },
  {
    name: 'cut at a byte',
    narinfo: does({ cutAfter: 100 }),
    first: does({ cutAfter: 1 }),
    middle: does({ cutAfter: 150_000 }),
    resume: does({ cutAfter: 1000 }),
  },
  {
    name: 'one flipped bit',
    narinfo: does(({ narinfo }) => ({ body: flipped(Buffer.from(narinfo), narinfo.indexOf('NarSize: ') + 9) })),
    first: does(({ file }) => ({ body: flipped(file, 0) }), 'late'),
    middle: does(({ file }) => ({ body: flipped(file, 250_000) }), 'late'),
    resume: does(({ file }) => ({ body: flipped(file, 250_000) }), 'late'),
  },
  {
    name: 'a wrong NAR with a right narinfo',
    narinfo: none('its narinfo is right'),
    first: does(({ file }) => ({ body: randomBytes(file.length) }), 'late'),
    middle: does(
      ({ file }) => ({ body: Buffer.concat([file.subarray(0, 150_000), randomBytes(file.length - 150_000)]) }),
      'late',
    ),
    resume: does(({ file }) => ({ body: randomBytes(file.length) }), 'late'),
  },
  {
    name: 'a zip bomb',
    narinfo: does(() => ({ body: gzipBomb(), headers: { 'content-encoding': 'gzip' } })),
    first: { lies: bombed, late: true },
    middle: none('a bomb is a whole file: its second half is a wrong NAR'),
    resume: none('a bomb is a whole file: its second half is a wrong NAR'),
  },
  {
    name: 'a wrong Content-Range',
    narinfo: does({ lie206: { contentRange: 'bytes 0-99/500', start: 0, end: 99 } }),
    first: does({ lie206: { contentRange: 'bytes 0-99/300000', start: 0, end: 99 } }),
    middle: isHead,
    resume: does({ lie206: { contentRange: 'bytes 7-106/300000', start: 7, end: 106 } }),
  },
  {
    name: '200 to a Range',
    narinfo: none('nobody asks for a part of a narinfo'),
    first: none('nobody asks for a part at first'),
    middle: isHead,
    resume: does({ ignoreRange: true }),
  },
  {
    name: 'a Content-Encoding on a NAR',
    narinfo: none('narinfos may be encoded'),
    first: does({ encoding: 'gzip' }),
    middle: isHead,
    resume: does({ encoding: 'gzip' }),
  },
]

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[at]! ^= 1
  return copy
}

const bombSize = 64 * 1024 * 1024
let madeGzip: Buffer | undefined
let madeZstd: Buffer | undefined

function gzipBomb(): Buffer {
  return (madeGzip ??= gzipSync(Buffer.alloc(bombSize, 0x0a)))
}

/**
 * Everything fits but NarHash: a small file, named and vouched for by FileHash, that grows and grows. It is here whole before anybody could
 * have begun to unpack it, and no client waits for that: one that takes longer to come is in integrity.test.ts.
 */
function bombed(entry: SyntheticEntry, files: SyntheticCache['files']): Buffer {
  const bomb = (madeZstd ??= zstdSync(Buffer.alloc(bombSize)))
  const hash = nix32(createHash('sha256').update(bomb).digest())
  const narinfo = entry.narinfo
    .replace(/^URL: .*$/m, `URL: nar/${hash}.nar.zst`)
    .replace(/^FileHash: .*$/m, `FileHash: sha256:${hash}`)
    .replace(/^FileSize: .*$/m, `FileSize: ${bomb.length}`)
  files.set(entry.narinfoPath, { type: 'text/x-nix-narinfo', body: Buffer.from(narinfo) })
  files.set(`/nar/${hash}.nar.zst`, { type: 'application/x-nix-nar', body: bomb })
  return bomb
}

/** A port where connections are neither accepted nor refused: the kernel's queue is full, and nobody empties it. */
export async function deafAt(port: number): Promise<{ readonly close: () => Promise<void> }> {
  const program = `
    const { createServer } = require('node:net')
    const { parentPort, workerData } = require('node:worker_threads')
    createServer().listen({ port: workerData, host: '127.0.0.1', backlog: 1 }, () => {
      parentPort.postMessage('listening')
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
    })`
  const worker = new Worker(program, { eval: true, workerData: port })
  await once(worker, 'message')
  // Linux takes one connection more than the backlog; the next is left without an answer. Elsewhere it may be refused instead.
  const fillers = [0, 1].map(() => connect(port, '127.0.0.1').on('error', () => {}))
  // Whoever was faster, the proxy that looks whether it is back, has filled it as well; a filler then waits for minutes.
  await Promise.all(fillers.map((filler) => Promise.race([once(filler, 'connect'), delay(1000)])))
  return {
    close: async () => {
      for (const filler of fillers) filler.destroy()
      await worker.terminate()
    },
  }
}
