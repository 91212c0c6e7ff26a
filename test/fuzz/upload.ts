// An upload: an unseen NAR, a narinfo or a log, its body and how it is sent. It is taken or refused with a 4xx; what can be had
// afterwards is what was signed, whatever was sent.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'

import { startScriptedUpstream } from '../support/scripted-upstream.ts'
import { nix32 } from '../support/synthetic-cache.ts'
import { about, entry } from './entries.ts'
import { startFuzzedProxy, type FuzzedProxy } from './proxy.ts'
import type { Target } from './target.ts'

const first = entry(0, 'nar/entry-0000000000.nar')
const narPath = '/nar/entry-0000000000.nar'
/** Between the requests of one input: each begins with its path and its headers. */
const between = '\n=====\n'

/** `path [coding]`, a line for the headers' end, the body. */
function put(path: string, body: string | Uint8Array, more = ''): Buffer {
  return Buffer.concat([Buffer.from(`${path}${more}\n\n`), Buffer.from(body)])
}

function then(...requests: readonly Buffer[]): Buffer {
  return Buffer.concat(requests.flatMap((one, at) => (at === 0 ? [one] : [Buffer.from(between), one])))
}

const nar = put(narPath, first.nar)
const narinfo = put(`/${first.hash}.narinfo`, first.narinfo)

export const upload: Target = {
  name: 'upload',
  samples: [
    then(nar, narinfo),
    then(put(narPath, first.nar, ' chunked'), put(`/${first.hash}.narinfo`, gzipSync(first.narinfo), ' gzip')),
    then(narinfo, nar, narinfo),
    then(nar, nar, narinfo, narinfo),
    put(`/log/${first.hash}-fuzzed.drv`, gzipSync('a log\n'), ' gzip'),
    put(`/${first.hash}.ls`, '{}'),
    nar,
  ],
  words: [
    between,
    ' gzip',
    ' br',
    ' deflate',
    ' chunked',
    ' identity',
    ' zstd',
    ' short',
    ' long',
    first.hash,
    first.narHash,
    narPath,
    '.narinfo',
    '/log/',
  ],
  open: async () => {
    const upstream = await startScriptedUpstream()
    let proxy = await startFuzzedProxy(upstream.url)
    let number = 0
    return {
      check: async (input) => {
        number += 1
        // A path that is held is not proved anew: each input is about another one.
        const mine = entry(number, `nar/entry-${String(number).padStart(10, '0')}.nar`)
        const outcomes: number[] = []
        for (const request of split(about(input, first, mine))) outcomes.push(await send(proxy, request))
        await assertRight(proxy, mine.hash, outcomes)
        assert.deepEqual(proxy.bugs, [])
        if (number % 2000 === 0) {
          await proxy.close()
          proxy = await startFuzzedProxy(upstream.url)
        }
        return outcomes.join(' ')
      },
      close: async () => {
        await proxy.close()
        await upstream.close()
      },
    }
  },
}

/** The requests of an input, four at most. */
function split(input: Buffer): Buffer[] {
  const parts: Buffer[] = []
  let rest = input
  for (let at = rest.indexOf(between); at >= 0 && parts.length < 3; at = rest.indexOf(between)) {
    parts.push(rest.subarray(0, at))
    rest = rest.subarray(at + between.length)
  }
  return [...parts, rest]
}

/** PUTs one; its status. */
async function send(proxy: FuzzedProxy, request: Buffer): Promise<number> {
  const end = request.indexOf('\n\n')
  const [path = '', ...how] = request
    .subarray(0, Math.max(0, end))
    .toString('latin1')
    .replaceAll(/[\r\n]/g, '')
    .split(' ')
  const body = request.subarray(end < 0 ? 0 : end + 2)
  const chunked = how.includes('chunked')
  const coding = how.find((word) => /^[a-z]+$/.test(word) && !['chunked', 'short', 'long'].includes(word))
  // A body that is announced longer than it is ends with the connection: the client has gone.
  const announced = body.length + (how.includes('short') ? -1 : 0)
  const head = [
    `PUT ${path || '/'} HTTP/1.1`,
    'Host: x',
    'Connection: close',
    ...(coding === undefined ? [] : [`Content-Encoding: ${coding}`]),
    chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${Math.max(0, announced)}`,
  ]
  const chunks = chunked ? [Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n0\r\n\r\n')] : [body]
  const whole = chunked && body.length === 0 ? [Buffer.from('0\r\n\r\n')] : chunks
  const { status } = await proxy.raw(Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'), ...whole]))
  assert(status === 201 || (status >= 400 && status < 500), `status ${status} for PUT ${path}`)
  return status
}

/** What is served of a path is what was signed. */
async function assertRight(proxy: FuzzedProxy, hash: string, outcomes: readonly number[]): Promise<void> {
  const { status, body } = await proxy.get(`/${hash}.narinfo`)
  if (status === 404) return
  assert.equal(status, 200)
  assert(outcomes.includes(201), 'nothing was taken, and there it is')
  const said = (key: string): string => new RegExp(`^${key}: (.*)$`, 'm').exec(body.toString())?.[1] ?? ''
  const served = await proxy.get(`/${said('URL')}`)
  assert.equal(served.status, 200)
  // A narinfo that says no compression means bzip2, which nobody here can undo: such a file is held to its FileHash.
  const bzip2 = said('Compression') === 'bzip2'
  if (!bzip2) assert.equal(said('Compression'), 'none')
  const [promisedHash, promisedSize] = bzip2 ? ['FileHash', 'FileSize'] : ['NarHash', 'NarSize']
  assert.equal(`sha256:${nix32(createHash('sha256').update(served.body).digest())}`, said(promisedHash))
  assert.equal(String(served.body.length), said(promisedSize))
}
