// A TCP connection that reads into one buffer again and again. Node makes a new one of 64 KiB for every read, which for the first
// NAR of a process means a page fault each 4 KiB: 1.3 s instead of 0.3 s for 268 MB, measured.

import { connect, type OnReadOpts, type Socket, type TcpNetConnectOpts } from 'node:net'

/** Bytes of the buffer: four times what node reads at once, and fewer turns of the event loop for as much. */
const bufferSize = 256 * 1024
/**
 * Shorter reads are copied. undici keeps parts of a chunk until the headers that they belong to are complete: these fit into 16 KiB
 * (node's limit, and undici's), so that whatever begins with them and is longer has all of them.
 */
const longEnough = 32 * 1024

/**
 * Connects. What is read is lent to whoever is told by `readable` and calls `read` at once, and must be done with it by then; to all
 * others it comes as it does from any socket. For undici alone, which does so.
 */
export function connectPlainly(options: TcpNetConnectOpts): Socket {
  let lent: Uint8Array | undefined
  /** Whoever reads wanted more than was lent: else he is busy with it, and the connection waits until he asks. */
  let wantsMore = false
  const onread: OnReadOpts = {
    buffer: Buffer.allocUnsafeSlow(bufferSize),
    callback: (length, buffer) => {
      const bytes = buffer.subarray(0, length)
      if (length >= longEnough && socket.readableLength === 0) {
        lent = bytes
        wantsMore = false
        socket.emit('readable')
        if (lent === undefined) return wantsMore
        lent = undefined
      }
      return socket.push(Buffer.from(bytes))
    },
  }
  const socket = connect({ ...options, onread })
  const read = socket.read.bind(socket)
  const unshift = socket.unshift.bind(socket)
  socket.read = (size?: number): unknown => {
    if (lent === undefined) {
      wantsMore = true
      return read(size)
    }
    const bytes = lent
    lent = undefined
    return bytes
  }
  // What undici could not take, of a chunk that was lent.
  socket.unshift = (chunk: Uint8Array) => unshift(Buffer.from(chunk))
  return socket
}
