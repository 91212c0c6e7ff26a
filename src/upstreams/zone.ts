// Link-local peers are reached through one of our interfaces, which a URL of the WHATWG kind cannot name.

/**
 * Takes the zone out of the URL of a link-local address (RFC 6874): `http://[fe80::1%25wlan0]:8501/` or with a bare `%`.
 * @returns the URL without it, and the zone; undefined where the text is no http or https URL
 */
export function splitZone(text: string): { readonly url: URL; readonly zone: string | undefined } | undefined {
  const [, before = text, zone, after = ''] = /^(https?:\/\/\[[0-9a-f:.]+)(?:%25|%(?!25))([\w.-]+)(\].*)$/i.exec(text) ?? []
  const bare = before + after
  if (!URL.canParse(bare)) return undefined
  const url = new URL(bare)
  return url.protocol === 'http:' || url.protocol === 'https:' ? { url, zone } : undefined
}
