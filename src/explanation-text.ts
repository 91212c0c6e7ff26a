// An explanation as text: for the terminal, and for whoever asks a proxy with curl.

import type {
  ExplainedAnswer,
  ExplainedEntry,
  ExplainedNar,
  ExplainedStratum,
  Explanation,
  Verdict,
} from './explanation.ts'
import { printDuration, printSize } from './units.ts'

/** Lines, each with its newline. What strangers wrote into it stays text: no control characters. */
export function explanationText(explanation: Explanation): string {
  const { storePath, verdict, held, strata, askedAt, took, keys } = explanation
  const lines = [
    storePath,
    '',
    ...wrapped(`${headline(explanation)}: ${verdict.why}.`),
    ...(verdict.kind === 'missed' || verdict.kind === 'unreachable'
      ? []
      : [`  signed by    ${signers(verdict.signedBy, verdict.signatures, keys)}`]),
    ...(verdict.nar ? narLines(verdict.nar) : []),
    '',
    'On disk',
    ...(held.length === 0 ? ['    nothing of it'] : held.flatMap((entry) => entryLines(entry, keys))),
    ...strata.flatMap((stratum) => ['', ...stratumLines(stratum, keys)]),
    '',
    `Everybody was asked at ${printTime(askedAt)}, and heard out within ${Math.round(took)} ms.`,
  ]
  return lines.map((line) => `${printable(line).trimEnd()}\n`).join('')
}

/** What the whole comes to, in a few words: `A client gets it from cache.nixos.org`. */
export function headline({ verdict: { kind, from } }: Pick<Explanation, 'verdict'>): string {
  const headlines = {
    held: 'A client gets it from our own disk',
    remembered: `A client gets it from ${from}`,
    found: `A client gets it from ${from}`,
    missed: 'A client is told that there is no such path',
    unreachable: 'A client does not get it',
  } satisfies Record<Verdict['kind'], string>
  return headlines[kind]
}

/** Milliseconds since 1970, as `2026-11-21 10:49:23 UTC`. */
export function printTime(time: number): string {
  return `${new Date(time).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

/** What an answer was, in a few words: `refused: no signature of a trusted key, only of cache.example.org-1`. */
export function outcomeText(answer: ExplainedAnswer, keys: readonly string[]): string {
  const { outcome, why, signedBy, signatures } = answer
  const texts = {
    found: `has it, signed by ${signers(signedBy, signatures, keys)}`,
    missed: 'missed',
    refused: `refused: ${why}`,
    skipped: `not asked: ${why}`,
    failed: `failed: ${why}`,
    silent: 'did not answer in time',
    outrun: 'another of its addresses was faster',
  } satisfies Record<ExplainedAnswer['outcome'], string>
  return texts[outcome]
}

/** Whose signatures it carries: the one that counts first, then the others, which were not looked at. */
export function signers(signedBy: string | undefined, signatures: readonly string[], keys: readonly string[]): string {
  const others = signatures.filter((name) => name !== signedBy)
  const also = others.length === 0 ? '' : `; also by ${others.join(', ')}`
  if (signedBy === 'ca') return `nobody, and need not be: its content proves its path${also}`
  if (signedBy !== undefined) return `${signedBy} (trusted)${also}`
  if (keys.length > 0) return `nobody who is trusted${also}`
  return signatures.length === 0 ? 'nobody' : `${signatures.join(', ')} (not verified here)`
}

/** When a client's question would come to a stratum. */
export function turnText(turn: number | undefined): string {
  if (turn === undefined) return 'a client’s question ends before it comes here'
  return turn === 0 ? 'asked at once' : `asked after ${Math.round(turn)} ms`
}

/** How much of a NAR on disk was proved, and by whom it is vouched for. */
export function entryRemarks({ from, checked, pinned, uploaded, trusted }: ExplainedEntry): readonly string[] {
  const proofs = { nar: 'NarHash proved', file: 'FileHash proved' }
  const remarks = [
    from === undefined || from === 'store' ? undefined : `came from ${from}`,
    checked && proofs[checked],
    pinned ? 'pinned' : undefined,
    uploaded ? 'uploaded' : undefined,
    trusted ? undefined : 'not served: no trusted key vouches for it now',
  ]
  return remarks.filter((remark) => remark !== undefined)
}

function narLines({ place, compression, fileSize, narSize, narHash }: ExplainedNar): readonly string[] {
  const travels = fileSize === undefined ? 'of unknown size' : printSize(fileSize)
  return [
    `  NAR          ${place}`,
    `               ${compression}, ${travels}; unpacked ${printSize(narSize)}, ${narHash}`,
  ]
}

function entryLines(entry: ExplainedEntry, keys: readonly string[]): readonly string[] {
  const { file, size, since, signedBy, signatures } = entry
  return [
    `    ${file}`,
    `    ${[printSize(size), `since ${printTime(since)}`, ...entryRemarks(entry)].join(', ')}`,
    `    signed by ${signers(signedBy, signatures, keys)}`,
  ]
}

function stratumLines({ name, hedge, turn, answers }: ExplainedStratum, keys: readonly string[]): readonly string[] {
  const when = turnText(turn)
  const width = Math.min(40, Math.max(0, ...answers.map(({ who }) => who.length)))
  return [
    `Stratum ${name} (${when}; hedge ${printDuration(hedge)})`,
    ...(answers.length === 0 ? ['    nobody is here just now'] : []),
    ...answers.map((answer) => {
      const took = answer.ms === undefined ? '' : `${Math.round(answer.ms)} ms`
      return `  ${answer.wins ? '*' : ' '} ${answer.who.padEnd(width)}  ${took.padStart(7)}  ${outcomeText(answer, keys)}`
    }),
  ]
}

/** A sentence as lines of at most 80 columns, as far as its words allow. */
function wrapped(text: string): readonly string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last === undefined || last.length + 1 + word.length > 80) lines.push(word)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines
}

/** Names and reasons come from strangers: a terminal must not take them for commands. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\uFFFD')
}
