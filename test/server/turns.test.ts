import { setImmediate as turn } from 'node:timers/promises'

import { describe, expect, it } from 'vitest'

import { Turns } from '../../src/server/turns.ts'

describe('turns', () => {
  it('go at once while there is room, and otherwise in the order they came, so many a turn', async () => {
    const turns = new Turns({ most: 2 })
    const gone: number[] = []
    for (const each of [1, 2, 3, 4, 5]) turns.take(() => gone.push(each))
    expect(gone).toEqual([1, 2])
    await turn()
    expect(gone).toEqual([1, 2, 3, 4])
    turns.take(() => gone.push(6))
    expect(gone).toEqual([1, 2, 3, 4])
    await turn()
    expect(gone).toEqual([1, 2, 3, 4, 5, 6])
  })

  it('let whoever waits go before those who go again and again', async () => {
    const turns = new Turns({ most: 2 })
    const gone: string[] = []
    const again = (): void => {
      gone.push('again')
      if (gone.length < 20) turns.take(again)
    }
    turns.take(again)
    turns.take(() => gone.push('other'))
    expect(gone).toEqual(['again', 'again'])
    await turn()
    expect(gone).toEqual(['again', 'again', 'again', 'other'])
  })

  it('begin anew after a pause', async () => {
    const turns = new Turns({ most: 1 })
    const gone: number[] = []
    turns.take(() => gone.push(1))
    await turn()
    await turn()
    turns.take(() => gone.push(2))
    expect(gone).toEqual([1, 2])
  })

  it('are short as long as newcomers are accepted', async () => {
    const turns = new Turns({ most: 3 })
    const gone: number[] = []
    for (const each of [1, 2, 3, 4, 5, 6, 7, 8]) turns.take(() => gone.push(each))
    turns.newcomer()
    await turn()
    expect(gone).toEqual([1, 2, 3, 4])
    await turn()
    expect(gone).toEqual([1, 2, 3, 4, 5, 6, 7])
  })
})
