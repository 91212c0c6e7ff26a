// nginx in two roles: a directory served as it is, and its `proxy_cache` recipe in front of an upstream.

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { Process } from './process.ts'

export interface NginxOptions {
  /** Its own: configuration, log, cache. */
  readonly directory: string
  readonly ports: readonly number[]
  /** Address to listen on. */
  readonly host?: string
  /** What the server block says besides where it listens. */
  readonly server: string
  readonly http?: string
  /** Words before the program: `ip netns exec NAME`. */
  readonly within?: readonly string[]
  /** Bytes of every answer go, a line each, into `sent` of its directory. */
  readonly countBytes?: boolean
}

/** As Debian runs it: a worker for every core, sendfile; connections are never closed under the load generator. */
export async function startNginx(options: NginxOptions): Promise<Process> {
  const { directory, ports, host = '127.0.0.1', server, http = '', within = [], countBytes = false } = options
  await mkdir(directory, { recursive: true })
  const config = join(directory, 'nginx.conf')
  const log = countBytes ? `log_format sent '$body_bytes_sent'; access_log ${directory}/sent sent;` : 'access_log off;'
  await writeFile(
    config,
    `user root; worker_processes auto; pid ${directory}/pid; error_log ${directory}/error.log; daemon off; worker_rlimit_nofile 65536;
events { worker_connections 8192; }
http {
  ${log}
  sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 120s; default_type application/octet-stream;
  types { text/x-nix-narinfo narinfo; application/x-nix-nar nar; }
  client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy; fastcgi_temp_path ${directory}/f;
  uwsgi_temp_path ${directory}/u; scgi_temp_path ${directory}/s;
  ${http}
  server { ${ports.map((port) => `listen ${host}:${port};`).join(' ')} ${server} }
}
`,
  )
  return Process.start({
    command: [...within, 'nginx', '-c', config],
    log: join(directory, 'log'),
    host,
    port: ports[0] ?? 0,
  })
}

/** The recipe that people copy: everything for long, one fetch for all who ask at once, keep-alive towards the upstream. */
export function proxyCache(upstream: URL, directory: string): { readonly http: string; readonly server: string } {
  return {
    http: `proxy_cache_path ${directory}/cache levels=1:2 keys_zone=nix:64m max_size=100g inactive=365d use_temp_path=off;
  upstream origin { server ${upstream.host}; keepalive 64; }`,
    server: `location / {
    proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $proxy_host;
    proxy_cache nix; proxy_cache_valid 200 365d; proxy_cache_valid 404 1m; proxy_cache_lock on;
    proxy_cache_use_stale error timeout updating;
  }`,
  }
}
