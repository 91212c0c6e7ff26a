// Promise: too low a limit of open files is found while it is not yet reached.

import { expect, test } from 'vitest'

import { judgeDescriptors } from '../../src/doctor/descriptors.ts'

const limits = (soft: string): string =>
  `Limit                     Soft Limit           Hard Limit           Units     \n` +
  `Max processes             1                    1                    processes \n` +
  `Max open files            ${soft.padEnd(20)} 524288               files     \n`

test.each([
  [limits('524288'), 80, 'ok'],
  [limits('unlimited'), 80, 'ok'],
  [limits('1024'), 80, 'warning'],
  [limits('64'), 80, 'problem'],
  [undefined, 80, 'note'],
  ['nonsense', 80, 'note'],
] as const)('%j for %i connections is %s', (text, connections, level) => {
  expect(judgeDescriptors(text, connections)).toMatchObject({ level, about: 'file descriptors' })
})
