// An upstream that sends anything at all instead of HTTP, in front of one that means well: the good one is asked all the same, nothing
// crashes, and what is kept is what was signed.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { ProxyError } from '../../src/errors.ts'
import { parsePublicKey, verifiedBy } from '../../src/nix/signature.ts'
import { isStoreHash } from '../../src/nix/store-path.ts'
import { DiskStore } from '../../src/store/disk-store.ts'
import { ReadThrough } from '../../src/store/read-through.ts'
import { Verifier } from '../../src/store/verifier.ts'
import type { Asking, Substitute } from '../../src/substituter.ts'
import { Trail } from '../../src/trail.ts'
import { Strata } from '../../src/upstreams/strata.ts'
import { Upstream } from '../../src/upstreams/upstream.ts'
import { startScriptedUpstream } from '../support/scripted-upstream.ts'
import { nix32, SyntheticCache } from '../support/synthetic-cache.ts'
import { about, entry, publicKey } from './entries.ts'
import type { Target } from './target.ts'

const first = entry(0)
/** Between what is sent for the narinfo and what is sent for the NAR. */
const between = '\n=====\n'
const keys = [parsePublicKey(publicKey)]

function answer(body: string | Uint8Array, head = ''): Buffer {
  const bytes = Buffer.from(body)
  const status = head.startsWith('HTTP/') ? '' : 'HTTP/1.1 200 OK\r\n'
  return Buffer.concat([Buffer.from(`${status}${head}Content-Length: ${bytes.length}\r\n\r\n`), bytes])
}

function chunked(body: string | Uint8Array): Buffer {
  const bytes = Buffer.from(body)
  const head = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${bytes.length.toString(16)}\r\n`
  return Buffer.concat([Buffer.from(head), bytes, Buffer.from('\r\n0\r\n\r\n')])
}

function both(narinfo: Buffer, nar: Buffer): Buffer {
  return Buffer.concat([narinfo, Buffer.from(between), nar])
}

export const upstreamHttp: Target = {
  name: 'upstream-http',
  samples: [
    both(answer(first.narinfo), answer(first.nar)),
    both(answer(first.narinfo), answer(first.nar.map((byte, at) => (at === 200 ? byte ^ 1 : byte)))),
    both(answer(first.narinfo, 'Connection: close\r\n'), chunked(first.nar)),
    both(chunked(first.narinfo), answer(first.nar.subarray(0, 300))),
    both(answer(first.narinfo), answer(first.nar, 'HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/10\r\n')),
    both(answer('', 'HTTP/1.1 404 Not Found\r\n'), answer('', 'HTTP/1.1 503 No\r\nRetry-After: 1\r\n')),
    both(answer('', 'HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n'), answer(first.nar, 'Content-Encoding: gzip\r\n')),
    both(answer('<html>', 'Content-Type: text/html\r\n'), answer('HTTP/1.1 100 Continue\r\n\r\n')),
  ],
  words: [
    '\r\n',
    '\r\n\r\n',
    'HTTP/1.1 200 OK\r\n',
    'HTTP/1.0 200\r\n',
    'HTTP/1.1 100 Continue\r\n\r\n',
    'HTTP/1.1 101 Switching\r\n',
    'Content-Length: ',
    'Transfer-Encoding: chunked\r\n',
    'Content-Range: bytes ',
    'Connection: close\r\n',
    'Location: ',
    'gzip',
    '0\r\n\r\n',
    'ffffffff\r\n',
    between,
    first.hash,
    'HTTP/1.1 206 Partial Content\r\n',
    'HTTP/1.1 999 \r\n',
    'X: ',
    'x'.repeat(5000),
  ],
  open: async () => {
    const place = await mkdtemp(join(tmpdir(), 'substrata-fuzz-'))
    const cache = new SyntheticCache()
    const good = await startScriptedUpstream({ cache })
    const hostile = await Hostile.start()
    const verifier = new Verifier({ threads: 1 })
    const options = { root: place, storeDir: '/nix/store', keys, maxSize: 4 * 1024 * 1024, minFree: 0, memory: 1 << 20 }
    const store = await DiskStore.open(options)
    const failures: unknown[] = []
    const failed = (error: unknown): void => void failures.push(error)
    process.on('uncaughtExceptionMonitor', failed)
    let number = 0
    return {
      check: async (input) => {
        number += 1
        const mine = entry(number)
        const { hash } = mine
        assert(isStoreHash(hash))
        cache.files.clear()
        cache.put(`/${hash}.narinfo`, mine.narinfo)
        cache.put('/nar/the.nar', mine.nar)
        hostile.says(about(input, first, mine))
        // Neither has any history: health would soon ask the hostile one no more.
        const upstreams = [hostile.url, good.url].map(
          (url, at) =>
            new Upstream({
              name: at === 0 ? 'hostile' : 'good',
              url,
              stratum: `s${at}`,
              storeDir: '/nix/store',
              keys,
              peer: false,
              presence: 'stationary',
              instanceId: 'fuzz',
            }),
        )
        const strata = new Strata({ strata: upstreams.map((substituter) => ({ substituter, hedge: 20_000 })) })
        const readThrough = new ReadThrough({ store, strata, verifier, reachable: () => true })
        const outcomes: string[] = []
        try {
          const found = await readThrough.find({ hash }, asking())
          assert(found, 'the good upstream has it')
          assert.equal(found.narinfo.storePath.hash, hash)
          assert(await verifiedBy(found.narinfo, keys), 'nobody has signed it')
          outcomes.push(found.from, await outcomeOf(found, mine.nar))
          // After a lie, the next client gets it from the good one.
          const again = await readThrough.find({ hash }, asking())
          assert(again)
          const second = await outcomeOf(again, mine.nar)
          const same = found.narinfo.compression === 'none' && found.narinfo.fileHash === mine.narHash
          if (same) assert.equal(second, 'whole')
          outcomes.push(second)
        } finally {
          await readThrough.close(AbortSignal.abort())
          await Promise.all(upstreams.map((upstream) => upstream.stop()))
        }
        const kept = await store.find({ hash }, asking())
        if (kept && kept.narinfo.compression === 'none') assert.equal(await outcomeOf(kept, mine.nar), 'whole')
        outcomes.push(kept ? 'kept' : 'not kept')
        assert.deepEqual(failures, [])
        return outcomes.join(', ')
      },
      close: async () => {
        process.off('uncaughtExceptionMonitor', failed)
        await verifier.close()
        await store.close()
        await hostile.close()
        await good.close()
        await rm(place, { recursive: true, force: true })
      },
    }
  },
}

function asking(): Asking {
  return { signal: new AbortController().signal, trail: new Trail(), loop: [] }
}

/** Reads a NAR: `whole`, or the code of the failure; wrong bytes that ended as if they were right are what must not be. */
async function outcomeOf(substitute: Substitute, nar: Buffer): Promise<string> {
  const hash = createHash('sha256')
  try {
    const { body } = await substitute.open(undefined, new AbortController().signal)
    for await (const chunk of body) hash.update(chunk)
  } catch (error) {
    assert(error instanceof ProxyError, error as Error)
    return error.code
  }
  // Under another compression the bytes are FileHash's, which nobody signs; they are proved when they are kept.
  if (substitute.narinfo.compression !== 'none') return 'whole, packed'
  const [got, expected] = [hash.digest(), createHash('sha256').update(nar).digest()]
  // What was signed is right, whatever its FileHash says, which nobody signs.
  if (got.equals(expected)) return 'whole'
  if (substitute.narinfo.fileHash === undefined) return 'wrong, and nobody had said what is right'
  assert.equal(nix32(got), substitute.narinfo.fileHash)
  return 'what its FileHash says, which nobody had signed'
}

/** Sends bytes for every request, and hangs up. */
class Hostile {
  readonly #sockets = new Set<Socket>()
  readonly #server = createServer((socket) => this.#welcome(socket))
  #narinfo: Buffer = Buffer.alloc(0)
  #nar: Buffer = Buffer.alloc(0)

  static async start(): Promise<Hostile> {
    const hostile = new Hostile()
    hostile.#server.listen(0, '127.0.0.1')
    await once(hostile.#server, 'listening')
    return hostile
  }

  get url(): URL {
    return new URL(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`)
  }

  says(bytes: Buffer): void {
    const at = bytes.indexOf(between)
    this.#narinfo = at < 0 ? bytes : bytes.subarray(0, at)
    this.#nar = at < 0 ? Buffer.alloc(0) : bytes.subarray(at + between.length)
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #welcome(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => this.#sockets.delete(socket))
    socket.once('data', (request) => {
      socket.end(/^GET \S+\.narinfo /.test(request.toString('latin1')) ? this.#narinfo : this.#nar)
    })
  }
}
