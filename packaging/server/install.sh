#!/bin/sh
# Installs the server out of its unpacked archive on a machine with systemd, or replaces an earlier version; hosts and guests go on.
#   packaging/server/install.sh [--name ADDRESS]...   names and addresses by which hosts and people reach it; the first is told to them
set -eu
umask 022

programs=/opt/sheaf-server
configuration=/etc/sheaf-server/server.conf
unit=/etc/systemd/system/sheaf-server.service

say() { printf 'sheaf: %s\n' "$*" >&2; }
fail() { code=$1; shift; for sentence in "$@"; do say "$sentence"; done; exit "$code"; }

main() {
  names=
  while [ $# -gt 0 ]; do
    [ "$1" = --name ] && [ $# -ge 2 ] || fail 2 'usage: install.sh [--name ADDRESS]...'
    case $2 in *[!A-Za-z0-9.:-]*) fail 2 "$2 is no name or address." ;; esac
    names="$names --name $2"
    shift 2
  done
  [ "$(id -u)" = 0 ] || fail 5 'root is needed.' 'Run it again as root.'
  { [ -d /run/systemd/system ] && command -v systemctl >/dev/null; } ||
    fail 4 'this machine has no systemd.' 'Run the server in the foreground instead: see packaging/README.md.'
  for program in qemu-img xz; do
    command -v "$program" >/dev/null || fail 4 "$program is missing here; images are prepared with it." 'On Debian: apt-get install qemu-utils xz-utils . Then run it again.'
  done
  from=$(cd "$(dirname "$0")/../.." && pwd)
  [ -f "$from/archive.json" ] || fail 2 "$from is no unpacked archive of the server." 'Make one with  npm run package , unpack it, and run the install.sh in it.'
  if [ -z "$names" ] && [ ! -f "$configuration" ]; then
    fail 2 'by which address will hosts reach this server?' 'Say so with --name, such as: install.sh --name sheaf.example --name 10.0.0.5'
  fi
  id sheaf >/dev/null 2>&1 || useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin sheaf

  version=$(sed -n 's/.*"name":"\([^"]*\)".*/\1/p' "$from/archive.json")
  mkdir -p "$programs" "$(dirname "$configuration")"
  if [ "$from" != "$programs/$version" ]; then
    rm -rf "$programs/.new"
    cp -R "$from" "$programs/.new"
    chown -R 0:0 "$programs/.new"
    rm -rf "${programs:?}/$version"
    mv "$programs/.new" "$programs/$version"
  fi
  ln -sfn "$version" "$programs/current"
  ln -sf "$programs/current/sheaf" /usr/local/bin/sheaf
  [ -z "$names" ] || printf '# Options of the server; read by sheaf-server.service.\nSHEAF_SERVER_OPTIONS="%s"\n' "${names# }" >"$configuration"
  cp "$programs/current/packaging/server/sheaf-server.service" "$unit"
  systemctl daemon-reload
  systemctl --quiet enable sheaf-server.service
  systemctl stop sheaf-server.service
  # Of a server that was killed: the new one writes it once it answers.
  rm -f /var/lib/sheaf-server/server.json
  systemctl start sheaf-server.service
  tries=0
  until [ -e /var/lib/sheaf-server/server.json ]; do
    tries=$((tries + 1))
    [ "$tries" -le 120 ] || fail 1 'the server does not answer.' 'See  journalctl -u sheaf-server .'
    sleep 0.5
  done
  for old in "$programs"/sheaf-server-*; do [ "$old" = "$programs/$version" ] || rm -rf "$old"; done
  say "the server runs: $(sed -n 's/.*"url":"\([^"]*\)".*/\1/p' /var/lib/sheaf-server/server.json)"
  [ ! -f /var/lib/sheaf-server/admin-password ] || say 'user admin; the first password is in /var/lib/sheaf-server/admin-password'
}

main "$@"
