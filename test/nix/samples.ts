// What a real Nix (2.8.0) wrote and signed, and functions that vary it. The secret key was made for these tests.

import { ProxyError } from '../../src/errors.ts'
import { parseNarInfo, type NarInfo } from '../../src/nix/narinfo.ts'
import { isStoreHash, type StoreHash } from '../../src/nix/store-path.ts'

export const storeDir = '/nix/store'

export const secretKey1 =
  'cache1.example.org-1:Co2d8llC1l6BY1Zeue10bfJN+HneOtZaGQbvnxK0mgAvht4ei6lg5UbWvF3PRJUMHf+bTR8+XseWW5idqAMlOw=='
export const publicKey1 = 'cache1.example.org-1:L4beHoupYOVG1rxdz0SVDB3/m00fPl7HlluYnagDJTs='
export const publicKey2 = 'cache2.example.org-1:FgnRBlrX26sO7wm/52re2So160+vcDCiJKQDpoP9AwE='

/** `nix copy --to file://…` of a path that refers to itself and to another, signed by both keys. */
export const signed = `StorePath: /nix/store/fy61h3nzdpyjw8kfgli303i0hc5flmn4-self-1.0
URL: nar/1lrypadsxvr84iarrw04iyi8iizl1phpjd8sb0ah3k9dp2rhys8n.nar.xz
Compression: xz
FileHash: sha256:1lrypadsxvr84iarrw04iyi8iizl1phpjd8sb0ah3k9dp2rhys8n
FileSize: 272
NarHash: sha256:0aih5h8g9qqfkd9zqbnxbsnx2ki0s0wly06s2rwz0wfsm22ndz3x
NarSize: 632
References: 9p3i7nb47j5j103m9zx2czj9fll3c10p-two.txt fy61h3nzdpyjw8kfgli303i0hc5flmn4-self-1.0
Deriver: mz4jkn5k0h9p069xhra6fhy0jbli8y4j-self-1.0.drv
Sig: cache1.example.org-1:gUskuwkrSWomxdyx+xpcCy1ToqD6jz4B3iMEX2RYYBQyQJ5ZlQaw0aVBXtVCJ22pPjeedRBM3lDvKkq1AItXDg==
Sig: cache2.example.org-1:vizglcMfIDu7c9Db1COMtkh86sTmA6tYB4zrWDAzGmT4TwpKwfuvt4Cq4XZAqjl27vVU+ekSNgYjbYfZlKvUCA==
`

/** The same for a file without references that proves its path, zstd. */
export const contentAddressed = `StorePath: /nix/store/vyxwyzjarh836igc53c6ib0a06gqq6jq-tree
URL: nar/0c2bb9z40wrsi04x70mhn33ysr5i53qb1klvlbgs4cp9bnc0ldzw.nar.zst
Compression: zstd
FileHash: sha256:0c2bb9z40wrsi04x70mhn33ysr5i53qb1klvlbgs4cp9bnc0ldzw
FileSize: 166
NarHash: sha256:1j9j084sn239ab5084vydg0xhighly1xmhxavbp56sw8gdl6i64g
NarSize: 648
References: 
CA: fixed:r:sha512:0hwdhx8r4winjhfxhqkiyv836rs6gjlxfzyi09572jvdrgwg8snj257a5p1gr9aifx6al1h8ck1sg5c31hqvynilqxs75cjidid4xlg
`

/** The signed narinfo with one line replaced (by several, by none when undefined). */
export function withLine(key: string, ...lines: readonly string[]): string {
  const found = signed.split('\n').filter((line) => !line.startsWith(`${key}:`))
  const at = signed.split('\n').findIndex((line) => line.startsWith(`${key}:`))
  return found.toSpliced(at, 0, ...lines).join('\n')
}

export function read(text: string): NarInfo {
  return parseNarInfo(text, storeDir)
}

/** The sentence with which a narinfo is refused; undefined when it is taken. Anything but the error we promise is thrown on. */
export function refusal(text: string): string | undefined {
  try {
    read(text)
    return undefined
  } catch (error) {
    if (error instanceof ProxyError && error.code === 'bad-narinfo') return error.message
    throw error
  }
}

export function storeHash(text: string): StoreHash {
  if (!isStoreHash(text)) throw new TypeError(`no store hash: ${text}`)
  return text
}
