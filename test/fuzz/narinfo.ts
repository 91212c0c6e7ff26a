// A narinfo from anybody: it is refused with our error, or what we hand on of it is read by Nix as we have read it.

import assert from 'node:assert/strict'

import { ProxyError } from '../../src/errors.ts'
import { parseHash, parseSha256 } from '../../src/nix/hash.ts'
import { narUrl, parseNarFileName } from '../../src/nix/nar-url.ts'
import { parseNarInfo, printNarInfo, type NarInfo } from '../../src/nix/narinfo.ts'
import { contentAddressed, signed, storeDir } from '../nix/samples.ts'
import { nixReadsNarInfo } from './nix-reads.ts'
import { pure } from './target.ts'

const words = [
  'StorePath',
  'URL',
  'Compression',
  'FileHash',
  'FileSize',
  'NarHash',
  'NarSize',
  'References',
  'Deriver',
  'Sig',
  'CA',
  'none',
  'xz',
  'bzip2',
  'sha256:',
  'sha256-',
  'md5:',
  'unknown-deriver',
  'fixed:r:',
  'text:',
  '/nix/store/',
  'nar/',
  '\n# comment\n',
  '\n\n',
  'X-Other: x\n',
  'Sig: a:b\n',
  '__proto__: x\n',
  'https://elsewhere.example/',
  '../',
  '<html>',
]

export const narinfo = pure({
  name: 'narinfo',
  samples: [signed, contentAddressed, signed.replaceAll('\n', '\r\n'), signed.replace(/^File.*\n/gm, '')],
  words,
  check: (input) => {
    const text = input.toString()
    let info: NarInfo
    try {
      info = parseNarInfo(text, storeDir)
    } catch (error) {
      assert(error instanceof ProxyError && error.code === 'bad-narinfo', error as Error)
      assert.match(error.message, /^narinfo: [^\p{Cc}]{1,500}$/u)
      return error.message.replace(/".*"|\d+/gs, '')
    }
    const printed = printNarInfo(info, info.url)
    const again = parseNarInfo(printed, storeDir)
    assert.deepEqual(again, info)
    assert.equal(printNarInfo(again, again.url), printed)

    const ours = printNarInfo(info, narUrl(info))
    const nix = nixReadsNarInfo(ours)
    assert.equal(nix.path, info.storePath.path)
    assert.equal(nix.compression, info.compression)
    assert.equal(parseSha256(nix.narHash), info.narHash)
    assert.equal(nix.narSize, BigInt(info.narSize))
    assert.equal(nix.fileSize, BigInt(info.fileSize ?? 0))
    assert.deepEqual(nix.references, info.references)
    assert.equal(nix.deriver === 'unknown-deriver' ? undefined : nix.deriver, info.deriver)
    assert.deepEqual(
      nix.signatures,
      info.signatures.map(({ line }) => line),
    )
    const named = parseNarFileName(nix.url.slice('nar/'.length))
    assert.equal(named?.hash, info.storePath.hash)
    assert.equal(named?.nar.compression, info.compression)
    assert(parseHash(`sha256:${named?.nar.digest}`))
    return `taken: ${info.compression}, ${Math.min(info.signatures.length, 3)} signatures, ${info.fields.length} lines`
  },
})
