// What --help says: written for somebody who meets the program for the first time, on a terminal of 80 columns.

import type { CommandName } from './arguments.ts'

const overview = `Substrata is an HTTP binary cache proxy for Nix. It asks several binary caches
at once, passes on what they have signed, and keeps the files it passes on, so
that the next one who asks gets them from here.

Usage: substrata [COMMAND] [FLAGS]

  serve           answer Nix clients; this is what happens without a command
  check-config    say what is wrong with a configuration file, and do nothing
  explain PATH... say who has store paths, and why they come from there
  doctor          compare a configuration with the world: caches, clock, disk
  verify          check all that the store holds, and set aside what is damaged
  pin PATH...     keep store paths, whatever else has to make room
  unpin PATH...   let them go again
  list            show what the store holds
  rebuild         make the store's index again from the files on disk

  COMMAND --help  explain one of them
  --version       print the version

To try it, run "substrata" and add a line to /etc/nix/nix.conf:

  substituters = http://127.0.0.1:8501 https://cache.nixos.org

In a checkout it is "npm start -- COMMAND" or "node dist/main.js COMMAND".
Exit codes: 0 done, 1 failed, 2 wrong use.
`

const serve = `Usage: substrata serve [FLAGS]

Answers Nix clients until Ctrl-C. A stop lets transfers that are under way
finish; a second Ctrl-C stops at once. Without flags it asks cache.nixos.org,
trusts its key, and listens on 127.0.0.1:8501.

  --config FILE       what to do, in TOML. substrata.example.toml explains every
                      key. The flags below go before what the file says.

  --listen ADDR       where clients ask: 127.0.0.1:8501, [::1]:8501 or
                      unix:/run/substrata.sock. May be repeated.

  --store DIR         where files are kept. Otherwise it is $STATE_DIRECTORY,
                      $XDG_CACHE_HOME/substrata or ~/.cache/substrata.

  --upstream URL      a binary cache to ask, instead of those of the file (or
                      cache.nixos.org). May be repeated: all are asked at once,
                      and the first that has a path gives it.

  --trusted-key NAME:BASE64
                      a key whose signatures count, besides those of the file
                      (or cache.nixos.org's). May be repeated.

  --max-size SIZE     the most that the kept files may take, like 200GiB. Those
                      that were not used for longest go first.

  --log-level LEVEL   error, warn, info (the default), or debug, which also
                      shows every request.

For example, in front of two caches:

  substrata serve --upstream https://cache.nixos.org \\
    --upstream https://cache.example.org \\
    --trusted-key cache.example.org-1:PUT+THE+CACHES+PUBLIC+KEY+HERE
`

const storeFlags = `  --config FILE       the configuration that the store is served with
  --store DIR         the store's directory, instead of the configuration's

One process owns a store: stop "substrata serve" on it before.
`

const helpOf: Readonly<Record<CommandName, string>> = {
  serve,

  'check-config': `Usage: substrata check-config [--config FILE]

Reads a configuration and the files that it names (keys, netrc, headers,
uploaders), as serve does at its start, and says everything that is wrong with
them. If nothing is, it prints what the configuration comes to. It binds no
address and writes nothing.

  --config FILE       the file; without it, the built-in defaults
`,

  explain: `Usage: substrata explain PATH... [FLAGS]

Says for store paths who was asked, in which stratum, what each answered and how
fast, who is taken and why, whose signatures the path carries, where its NAR is,
and what the store holds of it. A PATH is like
/nix/store/sp69qifh9883ihs597ic0b4l257lv18n-demo-2, or only its hash.

A proxy that runs at an address of the configuration is asked, because only it
knows whom it leaves alone for now. If there is none, everybody is asked from
here, and the store is read without being taken. Nothing is fetched or kept.
Exits with 1 when a path cannot be had.

  --config FILE       the configuration that says whom to ask
  --store DIR         the store's directory, instead of the configuration's
`,

  doctor: `Usage: substrata doctor [FLAGS]

Compares a configuration with the world, and says what to do about what it
finds: caches that cannot be reached, want credentials, are for another store
directory, or answer with somebody's login page; keys that nobody signs with; a
clock that is wrong; a full or unfit disk; files that this user may not write;
too few file descriptors. It writes nothing, and may run beside serve. Exits
with 1 when it finds a problem.

  --config FILE       the configuration; without it, the built-in defaults
  --store DIR         the store's directory, instead of the configuration's

Run it as the user, and within the limits, that serve runs with.
`,

  verify: `Usage: substrata verify [FLAGS]

Reads every file of the store and compares it with what was signed. What is
damaged is moved into the store's quarantine directory, and is fetched again
when somebody asks for it. Exits with 1 when anything was damaged or could not
be read.

${storeFlags}`,

  pin: `Usage: substrata pin PATH... [FLAGS]

Keeps store paths when others have to make room. A PATH is like
/nix/store/sp69qifh9883ihs597ic0b4l257lv18n-demo-2, or only its hash. One that
is not here yet is kept when it comes. What a path refers to is not pinned with
it.

${storeFlags}`,

  unpin: `Usage: substrata unpin PATH... [FLAGS]

Lets store paths go again when others have to make room.

${storeFlags}`,

  list: `Usage: substrata list [FLAGS]

Prints a line for each path that the store holds: its size as it travels,
whether it is pinned or was uploaded, and the path.

${storeFlags}`,

  rebuild: `Usage: substrata rebuild [FLAGS]

Makes the store's index again from the files on disk, which is all that is
needed when it was lost or damaged. Pins and uploads are kept.

${storeFlags}`,
}

/** The help of a command, or the overview. */
export function helpText(command: CommandName | undefined): string {
  return command === undefined ? overview : helpOf[command]
}
