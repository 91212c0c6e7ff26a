import { getEventListeners } from 'node:events'

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

import { codeOf, messageOf, ProxyError } from '../../src/errors.ts'
import { race, type Entrant } from '../../src/upstreams/race.ts'
import { rejection } from '../support/substituter-conformance.ts'

/** One who answers when the test says so. */
class Runner implements Entrant<string> {
  readonly hedge: number
  signal: AbortSignal | undefined
  #settle: { resolve: (answer: string | undefined) => void; reject: (error: unknown) => void } | undefined

  constructor(hedge = 0) {
    this.hedge = hedge
  }

  get started(): boolean {
    return this.signal !== undefined
  }

  enter(signal: AbortSignal): Promise<string | undefined> {
    this.signal = signal
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
  }

  async says(answer: string | undefined): Promise<void> {
    this.#settle?.resolve(answer)
    await vi.advanceTimersByTimeAsync(0)
  }

  async fails(error: unknown): Promise<void> {
    this.#settle?.reject(error)
    await vi.advanceTimersByTimeAsync(0)
  }
}

const never = new AbortController().signal
const unhandled = vi.fn<(error: unknown) => void>()

beforeEach(() => {
  vi.useFakeTimers()
  unhandled.mockClear()
  process.on('unhandledRejection', unhandled)
})

afterEach(async () => {
  const timers = vi.getTimerCount()
  vi.useRealTimers()
  // Unhandled rejections are reported when the microtasks are done.
  await new Promise((resolve) => {
    setImmediate(resolve)
  })
  process.off('unhandledRejection', unhandled)
  if (timers > 0) throw new Error('a timer was left behind')
  if (unhandled.mock.calls.length > 0) throw new Error('a rejection was left unhandled')
})

function started(runners: readonly Runner[]): boolean[] {
  return runners.map((runner) => runner.started)
}

function failure(code: 'timeout' | 'unreachable' | 'bad-status', message: string): ProxyError {
  return new ProxyError(code, message)
}

describe('who wins', () => {
  test('a race of nobody is a miss', async () => {
    await expect(race('all', [], never)).resolves.toBeUndefined()
  })

  test('the first answer wins, whoever gives it', async () => {
    const runners = [new Runner(), new Runner(), new Runner()]
    const winner = race('all', runners, never)

    await runners[1]!.says('second')
    await runners[0]!.says('first')

    await expect(winner).resolves.toBe('second')
  })

  test('a miss and a failure do not win, whoever is first', async () => {
    const runners = [new Runner(), new Runner(), new Runner()]
    const winner = race('all', runners, never)

    await runners[0]!.says(undefined)
    await runners[1]!.fails(failure('timeout', 'upstream b: silent'))
    await runners[2]!.says('third')

    await expect(winner).resolves.toBe('third')
  })

  test('it is a miss when all have said no', async () => {
    const runners = [new Runner(), new Runner()]
    const winner = race('all', runners, never)

    await runners[1]!.says(undefined)
    await runners[0]!.says(undefined)

    await expect(winner).resolves.toBeUndefined()
  })
})

describe('who starts when', () => {
  test('a hedge of 0 starts the next at once', () => {
    const runners = [new Runner(0), new Runner(0), new Runner(100)]
    const controller = new AbortController()
    void rejection(race('all', runners, controller.signal))

    expect(started(runners)).toEqual([true, true, true])
    controller.abort()
  })

  test('the next one waits for the hedge of the one before', async () => {
    const runners = [new Runner(100), new Runner(300), new Runner(100)]
    const winner = race('all', runners, never)

    await vi.advanceTimersByTimeAsync(99)
    expect(started(runners)).toEqual([true, false, false])
    await vi.advanceTimersByTimeAsync(1)
    expect(started(runners)).toEqual([true, true, false])
    await vi.advanceTimersByTimeAsync(299)
    expect(started(runners)).toEqual([true, true, false])
    await vi.advanceTimersByTimeAsync(1)
    expect(started(runners)).toEqual([true, true, true])
    await runners[0]!.says('the first after all')
    await expect(winner).resolves.toBe('the first after all')
  })

  test.each([
    ['says no', (runner: Runner) => runner.says(undefined)],
    ['fails', (runner: Runner) => runner.fails(failure('unreachable', 'upstream a: refused'))],
  ])('the next one starts at once when the one before %s', async (_what, ends) => {
    const runners = [new Runner(1000), new Runner(1000)]
    const winner = race('all', runners, never)

    await ends(runners[0]!)

    expect(started(runners)).toEqual([true, true])
    await runners[1]!.says('second')
    await expect(winner).resolves.toBe('second')
  })

  test('one who is silent does not hold up the third when the second says no', async () => {
    const runners = [new Runner(100), new Runner(1000), new Runner(1000)]
    const winner = race('all', runners, never)
    await vi.advanceTimersByTimeAsync(100)

    await runners[1]!.says(undefined)

    expect(started(runners)).toEqual([true, true, true])
    await runners[2]!.says('third')
    await expect(winner).resolves.toBe('third')
  })

  test('a late miss of the first starts nobody before the hedge of the second is over', async () => {
    const runners = [new Runner(100), new Runner(1000), new Runner(1000)]
    const winner = race('all', runners, never)
    await vi.advanceTimersByTimeAsync(100)

    await runners[0]!.says(undefined)

    expect(started(runners)).toEqual([true, true, false])
    await runners[1]!.says('second')
    await expect(winner).resolves.toBe('second')
  })

  test.each([Infinity, 2 ** 31])('a hedge of %d starts the next only when the one before has ended', async (hedge) => {
    const runners = [new Runner(hedge), new Runner()]
    const winner = race('all', runners, never)
    await vi.advanceTimersByTimeAsync(60_000)
    expect(started(runners)).toEqual([true, false])

    await runners[0]!.says(undefined)
    await runners[1]!.says('second')

    await expect(winner).resolves.toBe('second')
  })

  test('nobody starts after the race is won', async () => {
    const runners = [new Runner(100), new Runner()]
    const winner = race('all', runners, never)

    await runners[0]!.says('first')
    await vi.advanceTimersByTimeAsync(1000)

    await expect(winner).resolves.toBe('first')
    expect(started(runners)).toEqual([true, false])
  })
})

describe('who is told to stop', () => {
  test('the losers are, as aborted; the winner and those who have ended are not', async () => {
    const runners = [new Runner(), new Runner(), new Runner()]
    const winner = race('stratum near', runners, never)
    await runners[0]!.says(undefined)

    await runners[1]!.says('second')
    await winner

    expect(runners.map(({ signal }) => signal?.aborted)).toEqual([false, false, true])
    expect(codeOf(runners[2]!.signal?.reason)).toBe('aborted')
  })

  test('what losers throw afterwards is nobody’s business', async () => {
    const runners = [new Runner(), new Runner()]
    const winner = race('all', runners, never)
    await runners[0]!.says('first')

    await runners[1]!.fails(new Error('told to stop'))

    await expect(winner).resolves.toBe('first')
  })

  test('all are, at once, when the asker goes; that is aborted, whatever the reason', async () => {
    const runners = [new Runner(), new Runner(50), new Runner()]
    const controller = new AbortController()
    const error = rejection(race('stratum near', runners, controller.signal))

    controller.abort(new DOMException('too slow', 'TimeoutError'))

    expect(codeOf(await error)).toBe('aborted')
    expect(messageOf(await error)).toMatch(/^stratum near: /)
    expect(runners.map(({ signal }) => signal?.aborted)).toEqual([true, true, undefined])
    expect(codeOf(runners[0]!.signal?.reason)).toBe('aborted')
  })

  test('nobody starts for an asker who has gone before', async () => {
    const runner = new Runner()

    expect(codeOf(await rejection(race('all', [runner], AbortSignal.abort())))).toBe('aborted')
    expect(runner.started).toBe(false)
  })

  test('nobody else starts when the asker goes while one is starting', async () => {
    const controller = new AbortController()
    const last = new Runner()
    const first: Entrant<string> = {
      hedge: 100,
      enter: async () => {
        controller.abort()
        return undefined
      },
    }

    expect(codeOf(await rejection(race('all', [first, last], controller.signal)))).toBe('aborted')
    expect(last.started).toBe(false)
  })

  test('the asker’s signal is let go of when the race is over, however it ends', async () => {
    const controller = new AbortController()
    const endings: readonly ((runner: Runner) => Promise<void>)[] = [
      (runner) => runner.says('won'),
      (runner) => runner.says(undefined),
      (runner) => runner.fails(failure('timeout', 'upstream a: silent')),
    ]
    for (const ends of endings) {
      const runner = new Runner()
      const over = race('all', [runner], controller.signal).catch(() => {})
      expect(getEventListeners(controller.signal, 'abort')).toHaveLength(1)
      await ends(runner)
      await over
      expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
    }
    await race('all', [], controller.signal)
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
  })
})

describe('what a failure says', () => {
  async function failing(...errors: readonly unknown[]): Promise<ProxyError> {
    const entrants = errors.map((error): Entrant<string> => ({
      hedge: 0,
      enter: () => {
        throw error
      },
    }))
    const miss: Entrant<string> = { hedge: 0, enter: async () => undefined }
    const error = await rejection(race('stratum near', [...entrants, miss], never))
    if (!(error instanceof ProxyError)) throw error
    return error
  }

  test('who speaks, who failed and why', async () => {
    const error = await failing(failure('bad-status', 'upstream a: 503'), failure('timeout', 'upstream b: silent'))

    expect(error.code).toBe('unreachable')
    expect(error.message).toMatch(/^stratum near: .*upstream a: 503; upstream b: silent$/)
    expect(error.cause).toBeInstanceOf(AggregateError)
    expect((error.cause as AggregateError).errors.map(messageOf)).toEqual(['upstream a: 503', 'upstream b: silent'])
  })

  test('a timeout, when every failure was one', async () => {
    const error = await failing(failure('timeout', 'upstream a: silent'), failure('timeout', 'upstream b: silent'))

    expect(error.code).toBe('timeout')
  })

  test('failures of races within the race are named one by one', async () => {
    const inner = await failing(failure('timeout', 'upstream a: silent'), failure('timeout', 'upstream b: silent'))
    const outer = await failing(inner, failure('timeout', 'upstream c: silent'))

    expect((outer.cause as AggregateError).errors).toHaveLength(3)
    expect(outer.message.match(/upstream [abc]: silent/g)).toHaveLength(3)
    expect(outer.code).toBe('timeout')
  })

  test('one upstream that failed on all its addresses is one failure', async () => {
    const tried = new AggregateError([new Error('ECONNREFUSED ::1'), new Error('ECONNREFUSED 127.0.0.1')])
    const error = await failing(new ProxyError('unreachable', 'upstream a: refused', { cause: tried }))

    expect(error.message).toMatch(/1 could not answer: upstream a: refused$/)
  })

  test('of two hundred it names some, and says how many more there are', async () => {
    const many = Array.from({ length: 200 }, (_, index) => failure('timeout', `peer ${index}: silent`))
    const error = await failing(...many)

    expect(error.message).toMatch(/and 195 more$/)
    expect((error.cause as AggregateError).errors).toHaveLength(200)
  })

  test('what is thrown at once, or is no error of ours, is a failure like the others', async () => {
    const mistake: Entrant<string> = {
      hedge: 100,
      enter: () => {
        throw new TypeError('a mistake')
      },
    }
    const good = new Runner(100)
    const winner = race('all', [mistake, good], never)
    await vi.advanceTimersByTimeAsync(0)

    await good.says('the good one')
    await expect(winner).resolves.toBe('the good one')
    expect(codeOf(await rejection(race('all', [mistake], never)))).toBe('unreachable')
  })
})
