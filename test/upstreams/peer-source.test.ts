import { expect, test } from 'vitest'

import { staticPeers } from '../../src/upstreams/peer-source.ts'

test('the peers of the configuration are always here', () => {
  const source = staticPeers([
    { id: 'bob', urls: ['http://10.69.1.7:8501', 'http://10.70.1.7:8501'], trust: 'transitive', presence: 'roaming' },
  ])

  expect(source.peers()).toEqual([
    {
      id: 'bob',
      urls: ['http://10.69.1.7:8501', 'http://10.70.1.7:8501'],
      via: 'static',
      trust: 'transitive',
      presence: 'roaming',
    },
  ])
  expect(source.peers()).toEqual(source.peers())
})
