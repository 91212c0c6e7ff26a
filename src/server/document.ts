// What all our pages are: one head, a heading under the mark with a word on how it is, and no scripts.

import { html, Html } from './html.ts'
import { style } from './style.ts'

/** Three layers, seen from the side. */
export const icon =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path fill="#7fb2d9" d="M16 3 30 10 16 17 2 10z"/>' +
  '<path fill="#3f7cac" d="m2 15 14 7 14-7v3.5L16 25.5 2 18.5z"/><path fill="#21527a" d="m2 21.5 14 7 14-7V25l-14 6.5L2 25z"/></svg>'

/** Content-Security-Policy of a page: no script of anybody's runs here, whatever gets past the escaping. */
export const pagePolicy =
  "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

export interface DocumentParts {
  readonly title: string
  readonly heading: string
  /** Under the heading. */
  readonly of: Html
  /** How it is, in a word. */
  readonly badge: { readonly well: boolean; readonly says: string }
  readonly main: Html
  readonly footer: Html
}

/** A whole page as HTML. */
export function printDocument({ title, heading, of, badge, main, footer }: DocumentParts): string {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>${title}</title>
        <style>
          ${new Html(style)}
        </style>
      </head>
      <body>
        <header>
          ${new Html(icon)}
          <div>
            <h1>${heading}</h1>
            <p>${of}</p>
          </div>
          <p class="badge ${badge.well ? 'well' : 'resting'}">${badge.says}</p>
        </header>
        <main>${main}</main>
        <footer>${footer}</footer>
      </body>
    </html> `.text
}
