// Runs a command to its end and gives its standard output.

import { spawn } from 'node:child_process'

/** Rejects, with what it said on standard error, when it fails. */
export function run(program: string, args: readonly string[], env?: NodeJS.ProcessEnv): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: env ?? process.env })
    const [out, err]: [Buffer[], Buffer[]] = [[], []]
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk))
    child.on('error', reject)
    child.on('close', (code) => {
      if (code === 0) resolve(Buffer.concat(out).toString())
      else
        reject(
          new Error(`${program} ${args.join(' ')}: exit code ${code}\n${Buffer.concat(err).toString().slice(-2000)}`),
        )
    })
  })
}
