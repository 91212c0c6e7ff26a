// Memory as a real machine has it. A virtual one gives what is free back to its host within seconds and pays for it again at the next
// use, whoever comes first: measured here, up to half a second for the 268 MB of one file.

import { run } from './run.ts'

/** More than any file that is measured takes, with all who have a copy of it. */
const bytes = 1536 * 1024 * 1024

/** Touches memory and frees it, so that whoever is measured next finds it at hand. */
export async function memoryAtHand(): Promise<void> {
  await run(process.execPath, ['-e', `Buffer.alloc(${bytes}, 1)`])
}
