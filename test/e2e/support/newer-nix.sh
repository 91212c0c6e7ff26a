#!/usr/bin/env bash
# A newer real Nix than the system's, from another Debian suite: a small Debian root, and wrappers that run nix in it.
#   newer-nix.sh SUITE DIR TMP      makes DIR/root and DIR/bin/{nix,nix-store}, prints the version; done already, only prints
# Each wrapper enters the root in a mount namespace of its own, so no mount is left behind, with TMP shared: what the tests put
# there (stores, caches, HOME) has the same name on both sides. Needs root, mmdebstrap and unshare; 20 seconds, 240 MB.
set -euo pipefail
suite=$1 dir=$2 tmp=$3
if [[ ! -x $dir/bin/nix ]]; then
  mkdir -p "$(dirname "$dir")"
  partial=$(mktemp -d "$dir.partial.XXXXXX")
  trap 'rm -rf --one-file-system "$partial"' EXIT
  mirror=$(awk '/^URIs:/ { print $2; exit } $1 == "deb" { print $2; exit }' \
    /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null || true)
  mmdebstrap --quiet --variant=apt --include=nix-bin,ca-certificates \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "3"' \
    "$suite" "$partial/root" \
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:-http://deb.debian.org/debian} $suite main"
  # The packages' archives and lists are of no more use.
  rm -rf "$partial"/root/var/cache/apt/* "$partial"/root/var/lib/apt/lists/*
  mkdir "$partial/bin"
  for program in nix nix-store; do
    cat >"$partial/bin/$program" <<WRAPPER
#!/bin/sh
exec unshare --mount --propagation private sh -c '
  root=\$1 tmp=\$2; shift 2
  mkdir -p "\$root\$tmp" && mount --rbind "\$tmp" "\$root\$tmp" && mount --rbind /dev "\$root/dev" &&
    mount -t proc proc "\$root/proc" && exec chroot "\$root" "\$@"' sh '$dir/root' "\${TMPDIR:-/tmp}" /usr/bin/$program "\$@"
WRAPPER
    chmod +x "$partial/bin/$program"
  done
  rm -rf --one-file-system "$dir"
  mv "$partial" "$dir"
fi
TMPDIR=$tmp "$dir/bin/nix" --version
