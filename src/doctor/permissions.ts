// Whether this user may do with the store's directory what serve does, and others may not.

import { access as systemAccess, constants, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import type { Finding } from './finding.ts'

const about = 'store'
/** What serve writes to; a file that another user has made (by one run as root) is what usually stands in the way. */
const written = ['', 'v1', 'v1/nar', 'v1/incoming', 'v1/catalogue.sqlite', 'v1/lock.sqlite', 'identity']
const secret = 'identity'

/** The directory, or the nearest thing above it that is there. */
export async function nearestDirectory(path: string): Promise<string> {
  const there = await stat(path).catch(() => undefined)
  return there || dirname(path) === path ? path : nearestDirectory(dirname(path))
}

/** Like `access` of node:fs: rejects when this user may not. */
export type Access = (path: string, mode: number) => Promise<void>

/** Looks without writing: what access(2) says, which is yes to everything for root. */
export async function judgePermissions(root: string, access: Access = systemAccess): Promise<readonly Finding[]> {
  const nearest = await nearestDirectory(root)
  if (!(await stat(nearest)).isDirectory()) {
    return [{ level: 'problem', about, says: `${nearest} is no directory`, do: 'Set store.path to one' }]
  }
  if (nearest !== root) {
    if (await may(nearest, access)) return [{ level: 'ok', about, says: `${root} will be made` }]
    const action = `Make it, and give it to the user that serve runs as: install -d -m 700 -o USER ${root}`
    return [
      {
        level: 'problem',
        about,
        says: `${root} is not there, and this user may not make it in ${nearest}`,
        do: action,
      },
    ]
  }
  const findings: Finding[] = []
  const closed: string[] = []
  for (const name of written) if (!(await may(join(root, name), access))) closed.push(join(root, name))
  const [first, ...others] = closed
  if (first !== undefined) {
    const more = others.length === 0 ? '' : ` (nor ${others.length} more)`
    const action = `Run doctor as the user that serve runs as; if you do, give it the directory: chown -R USER ${root}`
    findings.push({ level: 'problem', about, says: `${first} cannot be written by this user${more}`, do: action })
  }
  const key = await stat(join(root, secret)).catch(() => undefined)
  if (key && (key.mode & 0o077) !== 0) {
    const path = join(root, secret)
    findings.push({
      level: 'warning',
      about,
      says: `${path} is this node's secret key, and others may read it`,
      do: `chmod 600 ${path}`,
    })
  }
  return findings.length > 0 ? findings : [{ level: 'ok', about, says: `${root} can be written` }]
}

/** What is not there will be made. */
async function may(path: string, access: Access): Promise<boolean> {
  try {
    const there = await stat(path)
    await access(
      path,
      there.isDirectory() ? constants.R_OK | constants.W_OK | constants.X_OK : constants.R_OK | constants.W_OK,
    )
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ENOENT'
  }
}
