// Promise: --help fits the terminal it is read on, and tells of every command and flag there is.

import { expect, test } from 'vitest'

import { commandNames, parseArguments, WrongUse } from '../../src/cli/arguments.ts'
import { helpText } from '../../src/cli/help.ts'

test.each([undefined, ...commandNames])('the help of %s fits into 80 columns', (command) => {
  const text = helpText(command)
  expect(text.split('\n').filter((line) => line.length > 80)).toEqual([])
  expect(text).toMatch(/[^\n]\n$/)
  expect(text).toContain(`Usage: substrata ${command ?? '[COMMAND]'}`)
})

test('the overview names every command', () => {
  for (const command of commandNames) expect(helpText(undefined)).toMatch(new RegExp(`^  ${command} `, 'm'))
})

test('the flags in a help are the flags that its command has', () => {
  for (const command of commandNames) {
    const shown = [...helpText(command).matchAll(/^ {2}--([a-z-]+) [A-Z]/gm)].map(([, flag]) => flag)
    const taken = ['config', 'listen', 'store', 'upstream', 'trusted-key', 'max-size', 'log-level'].filter((flag) => {
      try {
        parseArguments([command, `--${flag}=`])
        return false
      } catch (error) {
        return error instanceof WrongUse && error.message === `--${flag} needs a value`
      }
    })
    expect(shown).toEqual(taken)
  }
})
