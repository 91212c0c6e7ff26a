// The two things systemd and a service tell each other: sockets that were opened for us, and that we are ready.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** The environment of the process, handed in. */
export type Environment = Readonly<Record<string, string | undefined>>

/** The first descriptor that systemd passes: SD_LISTEN_FDS_START of sd_listen_fds(3). */
const firstDescriptor = 3

/**
 * The descriptors of the sockets that systemd opened for this process (socket activation, sd_listen_fds(3)): `LISTEN_FDS=2` with our
 * own pid in LISTEN_PID is [3, 4]. Empty when none were passed, or when they were passed to another process of our environment.
 */
export function listenDescriptors(env: Environment, pid: number): readonly number[] {
  const { LISTEN_PID, LISTEN_FDS } = env
  if (LISTEN_PID !== String(pid) || LISTEN_FDS === undefined || !/^[1-9]\d{0,2}$/.test(LISTEN_FDS)) return []
  return Array.from({ length: Number(LISTEN_FDS) }, (_, i) => firstDescriptor + i)
}

/**
 * Tells systemd how we are (sd_notify(3)): `READY=1`, `STOPPING=1`, `STATUS=…`. Does nothing unless systemd waits for it
 * (NOTIFY_SOCKET). Rejects when it could not be told.
 *
 * Node has no datagram sockets of the unix family, so `systemd-notify` says it for us; it waits until systemd has read it. It is
 * another process than ours, so the unit needs `NotifyAccess=all`.
 */
export async function notifySystemd(env: Environment, ...states: readonly string[]): Promise<void> {
  const { NOTIFY_SOCKET, PATH } = env
  if (NOTIFY_SOCKET === undefined || NOTIFY_SOCKET === '') return
  await run('systemd-notify', [...states], { env: { NOTIFY_SOCKET, PATH }, timeout: 10_000 })
}
