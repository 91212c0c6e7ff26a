// Standard base64 of a known number of bytes, read strictly: Node's own decoder skips whatever it does not understand.

/**
 * Reads base64 of exactly `length` bytes, with or without its `=`. Undefined for anything else, also for white space and for spare
 * bits that are set in the last letter.
 */
export function decodeBase64(text: string, length: number): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64')
  if (bytes.length !== length) return undefined
  const padded = bytes.toString('base64')
  return text === padded || text === padded.replace(/=+$/, '') ? new Uint8Array(bytes) : undefined
}
