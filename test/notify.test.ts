// Promise: systemd's sockets are taken when they are meant for us, and systemd hears that we are ready; without systemd, silence.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { listenDescriptors, notifySystemd } from '../src/notify.ts'
import { describeUnless, needs } from './support/needs.ts'

describe('sockets passed by systemd', () => {
  test('are those from 3 on, as many as it says', () => {
    expect(listenDescriptors({ LISTEN_PID: '42', LISTEN_FDS: '1' }, 42)).toEqual([3])
    expect(listenDescriptors({ LISTEN_PID: '42', LISTEN_FDS: '3' }, 42)).toEqual([3, 4, 5])
  })

  test.each([
    {},
    { LISTEN_FDS: '1' },
    { LISTEN_PID: '42' },
    { LISTEN_PID: '41', LISTEN_FDS: '1' },
    { LISTEN_PID: '42', LISTEN_FDS: '0' },
    { LISTEN_PID: '42', LISTEN_FDS: '-1' },
    { LISTEN_PID: '42', LISTEN_FDS: '1e3' },
    { LISTEN_PID: '42', LISTEN_FDS: '' },
  ])('are none with %j', (env) => {
    expect(listenDescriptors(env, 42)).toEqual([])
  })
})

describe('notifySystemd', () => {
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'substrata-notify-'))
  })
  afterEach(() => rm(directory, { recursive: true }))

  /** A `systemd-notify` that writes down how it was called. */
  async function notifier(): Promise<{ heard: () => Promise<string>; env: Record<string, string> }> {
    const heard = join(directory, 'heard')
    const script = `#!/bin/sh\necho "$NOTIFY_SOCKET $SECRET $*" >> ${heard}\n`
    await writeFile(join(directory, 'systemd-notify'), script, { mode: 0o700 })
    return {
      heard: () => readFile(heard, 'utf8').catch(() => ''),
      env: { PATH: `${directory}:/usr/bin:/bin`, SECRET: 'password' },
    }
  }

  test('is silent without systemd', async () => {
    const { heard, env } = await notifier()
    await notifySystemd(env, 'READY=1')
    await notifySystemd({ ...env, NOTIFY_SOCKET: '' }, 'READY=1')
    expect(await heard()).toBe('')
  })

  test('hands each state to systemd-notify, and nothing else of our environment', async () => {
    const { heard, env } = await notifier()
    await notifySystemd({ ...env, NOTIFY_SOCKET: '/run/x' }, 'READY=1', 'STATUS=serving')
    expect(await heard()).toBe('/run/x  READY=1 STATUS=serving\n')
  })

  test('says when systemd could not be told', async () => {
    await expect(notifySystemd({ NOTIFY_SOCKET: '/run/x', PATH: directory }, 'READY=1')).rejects.toThrow('ENOENT')
  })

  describeUnless(needs('systemd-notify', 'python3'), 'with the real one', () => {
    test('reaches a real socket', async () => {
      const socket = join(directory, 'socket')
      const listener = spawn('python3', ['-c', listen, socket], { stdio: ['ignore', 'pipe', 'inherit'] })
      try {
        const lines = createInterface(listener.stdout)[Symbol.asyncIterator]()
        expect((await lines.next()).value).toBe('bound')
        await notifySystemd({ NOTIFY_SOCKET: socket, PATH: '/usr/bin:/bin' }, 'READY=1', 'STATUS=serving')
        expect((await lines.next()).value).toBe(JSON.stringify('READY=1\nSTATUS=serving'))
      } finally {
        const closed = once(listener, 'close')
        listener.kill()
        await closed
      }
    })
  })
})

/** Does what systemd does: reads a datagram, and closes the descriptor that comes with a BARRIER=1, on which the sender waits. */
const listen = `
import array, json, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('bound', flush=True)
while True:
    data, ancillary, _, _ = s.recvmsg(4096, 64)
    for _, _, descriptors in ancillary:
        for descriptor in array.array('i', descriptors): os.close(descriptor)
    if b'BARRIER' not in data: print(json.dumps(data.decode()), flush=True)
`
