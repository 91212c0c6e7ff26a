// The page of one explanation, in the style of the start page.

import { entryRemarks, headline, outcomeText, printTime, signers, turnText } from '../explanation-text.ts'
import type { ExplainedAnswer, ExplainedEntry, ExplainedNar, ExplainedStratum, Explanation } from '../explanation.ts'
import { printDuration, printSize } from '../units.ts'
import { printDocument } from './document.ts'
import { html, type Html } from './html.ts'

/** Which of the start page's dots stands for an outcome. */
const dots = {
  found: 'well',
  missed: 'untried',
  refused: 'failing',
  skipped: 'resting',
  failed: 'resting',
  silent: 'resting',
  outrun: 'untried',
} satisfies Record<ExplainedAnswer['outcome'], string>

/** The whole page as HTML. */
export function explainPage(explanation: Explanation): string {
  const { hash, storePath, verdict, held, strata, keys, askedAt, took } = explanation
  const well = verdict.kind !== 'missed' && verdict.kind !== 'unreachable'
  return printDocument({
    title: `Why ${hash}`,
    heading: nameOf(storePath),
    of: html`<code>${storePath}</code>`,
    badge: { well, says: verdict.kind },
    main: html`
      <p class="lead"><b>${headline(explanation)}</b>: ${verdict.why}.</p>
      ${well ? html`<p class="figures">Signed by ${signers(verdict.signedBy, verdict.signatures, keys)}.</p>` : undefined}
      ${verdict.nar && narBlock(verdict.nar)}
      <section>
        <h2>On disk</h2>
        ${
          held.length === 0
            ? html`<p class="none">Nothing of it.</p>`
            : html`<ul class="fills">
                ${held.map((entry) => entryRow(entry, keys))}
              </ul>`
        }
      </section>
      <section>
        <h2>Strata</h2>
        ${strata.length === 0 ? html`<p class="none">None.</p>` : strata.map((stratum) => stratumBlock(stratum, keys))}
      </section>
    `,
    footer: html`
      Everybody was asked at ${printTime(askedAt)}, and heard out within ${Math.round(took)} ms ·
      <a href="../">this proxy</a>
    `,
  })
}

/** `/nix/store/sp69…-demo-2` → `demo-2`. */
function nameOf(storePath: string): string {
  const base = storePath.slice(storePath.lastIndexOf('/') + 1)
  return base.slice(33) || base
}

function narBlock({ place, compression, fileSize, narSize, narHash }: ExplainedNar): Html {
  const travels = fileSize === undefined ? 'of unknown size' : printSize(fileSize)
  return html`<p class="figures">
    NAR: <code>${place}</code>, ${compression}, ${travels}; unpacked ${printSize(narSize)}, <code>${narHash}</code>
  </p>`
}

function entryRow(entry: ExplainedEntry, keys: readonly string[]): Html {
  const { file, size, since, signedBy, signatures } = entry
  return html`<li>
    <span class="who"><code>${file}</code></span>
    <span class="figure">${printSize(size)}</span>
    <span class="why">${[`since ${printTime(since)}`, ...entryRemarks(entry)].join(', ')}</span>
    <span class="why">signed by ${signers(signedBy, signatures, keys)}</span>
  </li> `
}

function stratumBlock({ name, hedge, turn, answers }: ExplainedStratum, keys: readonly string[]): Html {
  const rows =
    answers.length === 0
      ? html`<p class="none">Nobody here just now.</p>`
      : html`<ul>
          ${answers.map((answer) => answerRow(answer, keys))}
        </ul>`
  return html`<article class="stratum">
    <h3>${name} <small>${turnText(turn)}, hedge ${printDuration(hedge)}</small></h3>
    ${rows}
  </article> `
}

function answerRow(answer: ExplainedAnswer, keys: readonly string[]): Html {
  const { who, url, peer, ms, outcome, wins } = answer
  return html`<li>
    <span class="dot ${dots[outcome]}" title="${outcome}"></span>
    <span class="who"
      ><b>${who}</b
      >${peer ? html` <em>peer</em>` : undefined}${wins ? html` <em>taken</em>` : undefined}${url === undefined ? undefined : html` <span class="url">${url}</span>`}</span
    >
    <span class="figure">${ms === undefined ? '' : `${Math.round(ms)} ms`}</span>
    <span class="why">${outcomeText(answer, keys)}</span>
  </li> `
}
