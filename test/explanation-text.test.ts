// Promise: an explanation can be read on a terminal, and nothing in it is a command to that terminal.

import { expect, test } from 'vitest'

import { explanationText, signers } from '../src/explanation-text.ts'
import type { ExplainedAnswer, Explanation } from '../src/explanation.ts'

const answer: ExplainedAnswer = {
  who: 'cache.nixos.org',
  url: 'https://cache.nixos.org/',
  peer: false,
  askedAt: 0,
  ms: 41.4,
  outcome: 'found',
  why: undefined,
  signedBy: 'cache.nixos.org-1',
  signatures: ['cache.nixos.org-1', 'other-1'],
  wins: true,
}

const explanation: Explanation = {
  hash: 'sp69qifh9883ihs597ic0b4l257lv18n' as Explanation['hash'],
  storePath: '/nix/store/sp69qifh9883ihs597ic0b4l257lv18n-demo-2',
  askedAt: Date.UTC(2026, 10, 21, 10, 49, 23),
  took: 90,
  keys: ['cache.nixos.org-1'],
  verdict: {
    kind: 'found',
    why: 'only it has it in stratum internet; nobody in stratum near has it',
    from: 'cache.nixos.org',
    signedBy: 'cache.nixos.org-1',
    signatures: ['cache.nixos.org-1', 'other-1'],
    nar: {
      place: 'https://cache.nixos.org/nar/x.nar.xz',
      compression: 'xz',
      fileSize: 2048,
      narSize: 2 ** 20,
      narHash: 'sha256:abc',
    },
  },
  held: [
    {
      file: '/s/v1/nar/sp/x.nar.xz',
      size: 1024,
      since: Date.UTC(2026, 0, 2, 3, 4, 5),
      from: 'bob',
      checked: 'file',
      pinned: true,
      uploaded: true,
      trusted: false,
      signedBy: undefined,
      signatures: ['gone-1'],
    },
  ],
  strata: [
    {
      name: 'near',
      hedge: 150,
      turn: 0,
      answers: [
        { ...answer, who: 'bob', outcome: 'missed', ms: 3, wins: false },
        {
          ...answer,
          who: 'ann',
          outcome: 'refused',
          why: 'no signature of a trusted key, only of evil-1',
          ms: 4,
          wins: false,
        },
        { ...answer, who: 'eve', outcome: 'silent', ms: undefined, wins: false },
      ],
    },
    { name: 'internet', hedge: 400, turn: 150, answers: [answer] },
    { name: 'last', hedge: 400, turn: undefined, answers: [] },
  ],
}

test('it says everything, the verdict first', () => {
  expect(explanationText(explanation)).toBe(`/nix/store/sp69qifh9883ihs597ic0b4l257lv18n-demo-2

A client gets it from cache.nixos.org: only it has it in stratum internet;
nobody in stratum near has it.
  signed by    cache.nixos.org-1 (trusted); also by other-1
  NAR          https://cache.nixos.org/nar/x.nar.xz
               xz, 2.00 KiB; unpacked 1.00 MiB, sha256:abc

On disk
    /s/v1/nar/sp/x.nar.xz
    1.00 KiB, since 2026-01-02 03:04:05 UTC, came from bob, FileHash proved, pinned, uploaded, not served: no trusted key vouches for it now
    signed by nobody who is trusted; also by gone-1

Stratum near (asked at once; hedge 150ms)
    bob     3 ms  missed
    ann     4 ms  refused: no signature of a trusted key, only of evil-1
    eve           did not answer in time

Stratum internet (asked after 150 ms; hedge 400ms)
  * cache.nixos.org    41 ms  has it, signed by cache.nixos.org-1 (trusted); also by other-1

Stratum last (a client’s question ends before it comes here; hedge 400ms)
    nobody is here just now

Everybody was asked at 2026-11-21 10:49:23 UTC, and heard out within 90 ms.
`)
})

test('a stranger’s name is no command to the terminal', () => {
  const evil = `\u001b]0;owned\u0007\r\u009b2J\u202e\n`
  const text = explanationText({
    ...explanation,
    verdict: { ...explanation.verdict, from: evil, why: evil },
    strata: [{ name: evil, hedge: 0, turn: 0, answers: [{ ...answer, who: evil, outcome: 'failed', why: evil }] }],
  })
  expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u)
  expect(text).toContain('owned')
})

test.each([
  ['ca', ['a-1'], ['k'], 'nobody, and need not be: its content proves its path; also by a-1'],
  [undefined, ['a-1', 'b-1'], [], 'a-1, b-1 (not verified here)'],
  [undefined, [], [], 'nobody'],
] as const)('signed by %s of %j with keys %j', (signedBy, signatures, keys, text) => {
  expect(signers(signedBy, signatures, keys)).toBe(text)
})
