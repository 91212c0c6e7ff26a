// The page at `/`: what this is, how its strata are, what the store holds and what is being fetched. Small, no scripts, fits a phone.

import { printSize } from '../units.ts'
import { printDocument } from './document.ts'
import { html, type Html } from './html.ts'
import { troubles, type FillStatus, type Status, type StratumStatus, type SubstituterStatus } from './status.ts'

const stateWords = {
  untried: 'not asked yet',
  well: 'well',
  failing: 'failing',
  resting: 'resting',
  excluded: 'excluded',
} satisfies Record<SubstituterStatus['state'], string>

/** The whole page as HTML; with the way to `/explain` for those whom it answers. */
export function page(status: Status, mayAskWhy: boolean): string {
  const { hostname, version, instanceId, uptime, uplink, strata, store, fills, keys } = status
  const wrong = troubles(status)
  const peers = strata.flatMap(({ substituters }) => substituters).filter(({ peer }) => peer).length
  return printDocument({
    title: `Substrata on ${hostname}`,
    heading: 'Substrata',
    of: html`on <b>${hostname}</b>`,
    badge: { well: wrong.length === 0, says: wrong.length === 0 ? 'serving' : wrong.join(', ') },
    main: html`
      <p class="lead">
        A binary cache for Nix. It asks the caches below, stratum by stratum, passes on what they have with its original
        signatures, and keeps it. To use it, add the address of this page to <code>substituters</code> in
        <code>nix.conf</code>.
      </p>
      ${keys.length === 0 ? noKeys : undefined} ${uplinkRemarks[uplink]}
      <section>
        <h2>Strata${peers > 0 ? html` <small>${count(peers, 'peer')} near</small>` : undefined}</h2>
        ${strata.length === 0 ? html`<p class="none">None: only what is held is served.</p>` : strata.map(stratumBlock)}
      </section>
      <section>
        <h2>Store</h2>
        ${storeBlock(store)}
      </section>
      <section>
        <h2>Being fetched now</h2>
        ${
          fills.length === 0
            ? html`<p class="none">Nothing.</p>`
            : html`<ul class="fills">
                ${fills.map(fillRow)}
              </ul>`
        }
      </section>
      ${mayAskWhy ? whyBlock : undefined} ${keys.length > 0 ? keysBlock(keys) : undefined}
    `,
    footer: html`
      Substrata ${version} · up ${duration(uptime)} · ${instanceId} · <a href="metrics">metrics</a> ·
      <a href="health">health</a>
    `,
  })
}

const whyBlock = html`<section>
  <h2>Who has it, and why</h2>
  <form action="explain">
    <input name="path" aria-label="Store path" placeholder="/nix/store/…" required />
    <button>Ask everybody</button>
  </form>
</section>`

const noKeys = html`<p class="warning">
  <b>No trusted keys.</b> Nothing that comes from upstreams or peers is verified here; clients must verify it
  themselves.
</p>`

const uplinkRemarks = {
  ok: undefined,
  offline: html`<p class="warning"><b>Offline.</b> What the store and the peers hold is served.</p>`,
  portal: html`<p class="warning">
    <b>A captive portal</b> answers instead of the upstreams: somebody has to log in. What the store and the peers hold
    is served.
  </p>`,
} satisfies Record<Status['uplink'], Html | undefined>

function stratumBlock({ name, hedge, substituters }: StratumStatus): Html {
  const rows =
    substituters.length === 0
      ? html`<p class="none">Nobody here just now.</p>`
      : html`<ul>
          ${substituters.map(substituterRow)}
        </ul>`
  return html`<article class="stratum">
    <h3>${name}${hedge > 0 ? html` <small>next after ${hedge} ms</small>` : undefined}</h3>
    ${rows}
  </article> `
}

function substituterRow({ name, url, peer, state, latencyMs, lastFailure }: SubstituterStatus): Html {
  const troubled = state !== 'well' && state !== 'untried' && lastFailure !== undefined
  return html`<li>
    <span class="dot ${state}" title="${stateWords[state]}"></span>
    <span class="who"
      ><b>${name}</b
      >${peer ? html` <em>peer</em>` : undefined}${shortened(url) === name ? undefined : html` <span class="url">${shortened(url)}</span>`}</span
    >
    <span class="figure"
      >${state === 'well' && latencyMs !== undefined ? `${Math.round(latencyMs)} ms` : stateWords[state]}</span
    >
    ${troubled ? html`<span class="why">${lastFailure}</span>` : undefined}
  </li> `
}

function storeBlock({ state, bytes, nars, narinfos, free, maxSize }: Status['store']): Html {
  const room = maxSize ?? (free === undefined ? undefined : bytes + free)
  const remarks = {
    ok: undefined,
    full: html`<p class="warning">The store is full: what it holds is served, nothing new is kept.</p>`,
    failed: html`<p class="warning">The store fails: what is asked for is passed on and not kept. See the log.</p>`,
  } satisfies Record<Status['store']['state'], Html | undefined>
  return html`<p class="sum"><b>${printSize(bytes)}</b>${room === undefined ? undefined : ` of ${printSize(room)}`}</p>
    ${room === undefined ? undefined : bar(bytes, room)}
    <p class="figures">
      ${count(nars, 'NAR')} ·
      ${count(narinfos, 'narinfo')}${free === undefined ? undefined : ` · ${printSize(free)} free on disk`}
    </p>
    ${remarks[state]}`
}

function fillRow({ name, received, size, readers, from }: FillStatus): Html {
  return html`<li>
    <span class="who"><b>${name}</b></span>
    <span class="figure">${printSize(received)}${size === undefined ? undefined : ` of ${printSize(size)}`}</span>
    ${size === undefined ? undefined : bar(received, size)}
    <span class="why">from ${from}, ${readers === 0 ? 'nobody waits' : `${count(readers, 'client')} reading`}</span>
  </li> `
}

function keysBlock(keys: readonly string[]): Html {
  return html`<section>
    <h2>Trusted keys</h2>
    <p class="keys">${keys.map((key) => html`<code>${key}</code> `)}</p>
  </section>`
}

function bar(part: number, whole: number): Html {
  const percent = whole > 0 ? Math.min(100, (100 * part) / whole) : 0
  return html`<div class="bar"><div style="width:${percent.toFixed(1)}%"></div></div>`
}

/** `1 NAR`, `1 204 NARs`. */
function count(number: number, what: string): string {
  return `${String(number).replace(/\B(?=(?:\d{3})+$)/g, '\u202f')} ${what}${number === 1 ? '' : 's'}`
}

/** Without what all of them have: `https://cache.nixos.org/` → `cache.nixos.org`. */
function shortened(url: string): string {
  return url.replace(/^https?:\/\//, '').replace(/\/$/, '')
}

/** Seconds, for people: `3 d 4 h`, `5 min`. */
function duration(seconds: number): string {
  const minutes = Math.floor(seconds / 60)
  const hours = Math.floor(minutes / 60)
  if (minutes < 1) return `${Math.floor(seconds)} s`
  if (hours < 1) return `${minutes} min`
  return hours < 24 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`
}
