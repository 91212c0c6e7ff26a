// Nix's own base 32, in which store hashes and most narinfo hashes are written.
//
// The alphabet lacks e, o, t and u. Digits are written most significant first, and the bytes count as one little-endian number:
// digit k from the right holds the 5 bits at bit offset 5k. So the 20 bytes of a store hash are 32 letters, the 32 bytes of a
// sha256 are 52 letters, and the one byte 0x1f is `0z`.

const alphabet = '0123456789abcdfghijklmnpqrsvwxyz'

/** Digit by character code; -1 where the character is no digit. */
const digits = Int8Array.from({ length: 128 }, (_, code) => alphabet.indexOf(String.fromCharCode(code)))

/** Writes bytes in nix32: ceil(8n/5) letters for n bytes, nothing for none. */
export function encodeBase32(bytes: Uint8Array): string {
  let text = ''
  for (let k = Math.ceil((bytes.length * 8) / 5) - 1; k >= 0; k -= 1) {
    const byte = Math.floor((k * 5) / 8)
    const pair = (bytes[byte] ?? 0) | ((bytes[byte + 1] ?? 0) << 8)
    text += alphabet.charAt((pair >> ((k * 5) % 8)) & 0x1f)
  }
  return text
}

/**
 * Reads nix32. Undefined for a letter that is none of the alphabet, for a length that no number of whole bytes has, and for
 * padding bits that are set: so each byte string has exactly one spelling.
 */
export function decodeBase32(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(Math.floor((text.length * 5) / 8))
  if (Math.ceil((bytes.length * 8) / 5) !== text.length) return undefined
  for (let k = 0; k < text.length; k += 1) {
    const digit = digits[text.charCodeAt(text.length - 1 - k)] ?? -1
    if (digit < 0) return undefined
    const byte = Math.floor((k * 5) / 8)
    const spread = digit << ((k * 5) % 8)
    bytes[byte] = (bytes[byte] ?? 0) | (spread & 0xff)
    const carry = spread >> 8
    if (byte + 1 < bytes.length) bytes[byte + 1] = (bytes[byte + 1] ?? 0) | carry
    else if (carry !== 0) return undefined
  }
  return bytes
}
