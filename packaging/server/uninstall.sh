#!/bin/sh
# Takes the server off this machine. Hosts go on without it and their guests run on. The data stays, unless --purge removes it for good.
set -eu
say() { printf 'sheaf: %s\n' "$*" >&2; }

main() {
  case ${1:-} in '' | --purge) ;; *) say 'usage: uninstall.sh [--purge]'; exit 2 ;; esac
  [ "$(id -u)" = 0 ] || { say 'root is needed.'; exit 5; }
  systemctl --quiet disable --now sheaf-server.service 2>/dev/null || :
  rm -rf /etc/systemd/system/sheaf-server.service /opt/sheaf-server /etc/sheaf-server
  [ "$(readlink /usr/local/bin/sheaf)" != /opt/sheaf-server/current/sheaf ] || rm -f /usr/local/bin/sheaf
  systemctl daemon-reload
  say 'the server is removed; hosts and their guests run on without it.'
  if [ "${1:-}" = --purge ]; then
    rm -rf /var/lib/sheaf-server
    say 'its data is removed: keys, records, images. Hosts that joined it must be taken off and join anew.'
  else
    say 'its data stays in /var/lib/sheaf-server .'
  fi
}

main "$@"
