// Makes bad inputs of good ones: fast-check draws what is done and where, so that a failing input can be made smaller.

import * as fc from 'fast-check'

/** One change; `at` and the like are taken modulo the input's length. */
type Step =
  | { readonly kind: 'set'; readonly at: number; readonly byte: number }
  | { readonly kind: 'put'; readonly at: number; readonly bytes: Uint8Array; readonly over: boolean }
  | { readonly kind: 'cut'; readonly at: number; readonly length: number }
  | { readonly kind: 'end'; readonly at: number }
  | { readonly kind: 'repeat'; readonly at: number; readonly length: number; readonly times: number }
  | { readonly kind: 'number'; readonly at: number; readonly to: string }
  | { readonly kind: 'line'; readonly from: number; readonly to: number; readonly copy: boolean }
  | { readonly kind: 'cross'; readonly at: number; readonly other: number; readonly from: number }

const numbers = [
  '',
  '0',
  '-0',
  '-1',
  '+1',
  '00',
  '1e3',
  '0x10',
  '1.5',
  'NaN',
  'Infinity',
  '7',
  '255',
  '65536',
  '4294967296',
  '9007199254740991',
  '9007199254740992',
  '18446744073709551616',
  '9'.repeat(40),
]
const always = [
  '\n',
  '\r\n',
  '\r',
  '\0',
  ' ',
  '\t',
  ':',
  '/',
  '..',
  '%2e',
  '%',
  '"',
  '\\',
  '\uFEFF',
  '\u2028',
  '\u009b',
  '😀',
  '\xff',
]

/** Longer ones say nothing new, and take their time. */
const longest = 256 * 1024

/** Inputs like these, worse and worse; now and then nothing but noise. */
export function worse(pool: readonly Buffer[], words: readonly string[]): fc.Arbitrary<Buffer> {
  const anywhere = fc.nat(1 << 20)
  const piece = fc.oneof(
    fc.constantFrom(...always, ...words).map((word) => Buffer.from(word)),
    fc.uint8Array({ minLength: 1, maxLength: 8 }),
  )
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ kind: fc.constant('set' as const), at: anywhere, byte: fc.nat(255) }),
    fc.record({ kind: fc.constant('put' as const), at: anywhere, bytes: piece, over: fc.boolean() }),
    fc.record({ kind: fc.constant('cut' as const), at: anywhere, length: fc.integer({ min: 1, max: 60 }) }),
    fc.record({ kind: fc.constant('end' as const), at: anywhere }),
    fc.record({
      kind: fc.constant('repeat' as const),
      at: anywhere,
      length: fc.integer({ min: 1, max: 40 }),
      times: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.constantFrom(100, 3000)),
    }),
    fc.record({ kind: fc.constant('number' as const), at: anywhere, to: fc.constantFrom(...numbers) }),
    fc.record({ kind: fc.constant('line' as const), from: anywhere, to: anywhere, copy: fc.boolean() }),
    fc.record({ kind: fc.constant('cross' as const), at: anywhere, other: anywhere, from: anywhere }),
  )
  const mutated = fc
    .tuple(fc.nat(pool.length - 1), fc.array(step, { minLength: 1, maxLength: 6 }))
    .map(([base, steps]) => steps.reduce((bytes, one) => applied(one, bytes, pool), pool[base] ?? Buffer.alloc(0)))
  const noise = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes))
  return fc.oneof({ weight: 19, arbitrary: mutated }, { weight: 1, arbitrary: noise })
}

function applied(step: Step, bytes: Buffer, pool: readonly Buffer[]): Buffer {
  return changed(step, bytes, pool).subarray(0, longest)
}

function changed(step: Step, bytes: Buffer, pool: readonly Buffer[]): Buffer {
  const place = (at: number): number => at % (bytes.length + 1)
  switch (step.kind) {
    case 'set': {
      const copy = Buffer.from(bytes)
      if (copy.length > 0) copy[step.at % copy.length] = step.byte
      return copy
    }
    case 'put':
      return joined(bytes, place(step.at), step.over ? step.bytes.length : 0, step.bytes)
    case 'cut':
      return joined(bytes, place(step.at), step.length)
    case 'end':
      return bytes.subarray(0, place(step.at))
    case 'repeat': {
      const at = place(step.at)
      const part = bytes.subarray(at, at + step.length)
      return joined(bytes, at, 0, Buffer.concat(Array.from({ length: step.times }, () => part)))
    }
    case 'number': {
      const found = [...bytes.toString('latin1').matchAll(/\d+/g)]
      const one = found[step.at % Math.max(1, found.length)]
      return one ? joined(bytes, one.index, one[0].length, Buffer.from(step.to)) : bytes
    }
    case 'line': {
      const lines = bytes.toString('latin1').split('\n')
      const from = step.from % lines.length
      const moved = step.copy ? lines.slice(from, from + 1) : lines.splice(from, 1)
      lines.splice(step.to % (lines.length + 1), 0, ...moved)
      return Buffer.from(lines.join('\n'), 'latin1')
    }
    case 'cross':
      break
  }
  const other = pool[step.other % pool.length] ?? bytes
  return Buffer.concat([bytes.subarray(0, place(step.at)), other.subarray(step.from % (other.length + 1))])
}

/** The bytes with some taken out at a place, and others put in. */
function joined(bytes: Buffer, at: number, out: number, put: Uint8Array = Buffer.alloc(0)): Buffer {
  return Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + out)])
}
