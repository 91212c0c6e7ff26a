// undici 7 ends the whole process when a connection ends under a reader that is slow; here its sockets are kept from doing that.

import type { Socket } from 'node:net'

import { errors } from 'undici'

/**
 * Changes a socket before undici gets it: nodejs/undici#5360, mended in undici 8, which needs Node 22.
 *
 * While a reader is slow, undici's parser is paused. When the server closes a `Connection: close` or HTTP/1.0 response just then,
 * the socket's `end` makes the parser assert that it is not paused, where no one can catch it. So `end` waits until the parser is
 * found reading: told that there is something to read, it asks for it, unless it is paused. A reset takes the same way, and would even
 * pass for the regular end of a body without length: it is given another name. The socket must have been made with `allowHalfOpen`,
 * else it closes itself at its end.
 */
export function mended(socket: Socket): Socket {
  const read = socket.read.bind(socket)
  const emit: (event: string | symbol, ...args: unknown[]) => boolean = socket.emit.bind(socket)
  /** The last reading found nothing: the parser, which reads until then, was not paused on the way. */
  let emptied = false
  let held = false
  const isReading = (): boolean => {
    if (socket.listenerCount('readable') === 0) return true
    emptied = false
    emit('readable')
    return emptied
  }
  const release = (): void => {
    if (!held || !isReading()) return
    held = false
    emit('end')
  }
  socket.read = (size?: number): unknown => {
    const chunk: unknown = read(size)
    emptied = chunk === null
    // After the parser, which is in the middle of its reading.
    if (held) queueMicrotask(release)
    return chunk
  }
  socket.emit = (event: string | symbol, ...args: unknown[]): boolean => {
    if (event === 'end' && !isReading()) {
      held = true
      return false
    }
    return event === 'error' ? emit(event, ...args.map(renamed)) : emit(event, ...args)
  }
  return socket
}

function renamed(error: unknown): unknown {
  const reset = error instanceof Error && 'code' in error && error.code === 'ECONNRESET'
  return reset ? Object.assign(new errors.SocketError('connection reset'), { cause: error }) : error
}
