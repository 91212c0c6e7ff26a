// `node delay-line.js PORT TARGET MS`: a wire to a port of this machine on which every byte, and every connection, is so long under way
// each way.

import { connect, createServer } from 'node:net'

const [port = '0', target = '0', ms = '0'] = process.argv.slice(2).map(Number)

/**
 * Hands on what comes, later; a full buffer at the far end holds the near end up.
 * @param {import('node:net').Socket} from
 * @param {import('node:net').Socket} to
 */
const carry = (from, to) => {
  from.on('data', (chunk) => {
    setTimeout(() => {
      if (to.destroyed) return
      if (!to.write(chunk)) {
        from.pause()
        to.once('drain', () => from.resume())
      }
    }, Number(ms))
  })
  from.on('end', () => setTimeout(() => to.end(), Number(ms)))
  from.on('error', () => to.destroy())
  from.on('close', () => setTimeout(() => to.destroy(), Number(ms)))
}

createServer({ allowHalfOpen: true }, (near) => {
  near.setNoDelay()
  near.pause()
  // The client's own handshake cost nothing: one round trip more before its first byte leaves.
  setTimeout(
    () => {
      const far = connect({ port: Number(target), host: '127.0.0.1', allowHalfOpen: true }).setNoDelay()
      carry(near, far)
      carry(far, near)
      near.resume()
    },
    2 * Number(ms),
  )
  near.on('error', () => {})
}).listen(Number(port), '127.0.0.1')
