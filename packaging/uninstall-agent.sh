#!/bin/sh
# Takes the agent off this host. Guests run on: they are libvirt's. Without --purge everything needed to take them up again stays.
#   uninstall-agent.sh [--purge]     --purge also removes the host's identity and /var/lib/sheaf with the disks in it; not while guests run
set -eu

programs=/opt/sheaf
data=/var/lib/sheaf
configuration=/etc/sheaf
units=/etc/systemd/system

say() { printf 'sheaf: %s\n' "$*" >&2; }

# Names of the guests that run, from QEMU's own command lines: also where libvirtd is down.
guests() {
  for file in /proc/[0-9]*/cmdline; do
    tr '\0' '\n' 2>/dev/null <"$file" | sed -n '1{/qemu/!q;};s/^guest=\([^,]*\).*/\1/p' || :
  done 2>/dev/null
}

remove_agent() {
  if [ -d /run/systemd/system ] && command -v systemctl >/dev/null; then
    systemctl --quiet disable --now sheaf-agent.service sheaf-pulse.service 2>/dev/null || :
    rm -f "$units/sheaf-agent.service" "$units/sheaf-pulse.service"
    systemctl daemon-reload
  elif [ -x "$programs/agent/packaging/agent/run.sh" ]; then
    "$programs/agent/packaging/agent/run.sh" stop >&2
  fi
  rm -rf "$programs/agent" "$programs"/agent-* "$programs/start-agent" "$programs"/trial* "$programs/.upgrade" "$configuration/agent.conf"
  rmdir "$programs" "$configuration" 2>/dev/null || :
}

# The base64 of a certificate, from a PEM file or the agent's own file.
certificate_in() { sed 's/\\n/ /g;s/.*"authority":"\([^"]*\)".*/\1/' "$1" 2>/dev/null | tr -d ' \n\r'; }

# Only what the agent wrote: certificates of other owners may lie beside.
remove_data() {
  authority=$(certificate_in "$data/agent/identity.json")
  for folder in /etc/pki/qemu /etc/libvirt/pki; do
    [ -n "$authority" ] && [ "$authority" = "$(certificate_in "$folder/ca-cert.pem")" ] || continue
    for file in ca-cert server-cert server-key client-cert client-key; do rm -f "$folder/$file.pem"; done
  done
  # Not the folder itself: it may be a mount point.
  find "$data" -xdev -mindepth 1 -delete || :
  rmdir "$data" 2>/dev/null || :
}

main() {
  purge=no
  case ${1:-} in
    '') ;;
    --purge) purge=yes ;;
    *) say 'usage: uninstall-agent.sh [--purge]'; exit 2 ;;
  esac
  [ "$(id -u)" = 0 ] || { say 'root is needed.'; exit 5; }
  running=$(guests)
  names=$(printf %s "$running" | tr '\n' ' ')
  if [ "$purge" = yes ] && [ -n "$running" ]; then
    say "guests run here, and --purge would take their disks away; nothing was changed: $names"
    say 'Move them away (sheaf host drain NAME) or stop them first.'
    exit 4
  fi
  # The programs go, and this script with them: a later --purge must still be possible.
  mkdir -p "$data"
  [ "$0" -ef "$data/uninstall-agent.sh" ] || cp "$0" "$data/uninstall-agent.sh"
  remove_agent
  say 'the agent is removed.'
  if [ -n "$running" ]; then
    say "guests run on: $names"
    say "They are libvirt's (virsh list). Run a new line of  sheaf host add  to have this host looked after again."
  fi
  if [ "$purge" = yes ]; then
    remove_data
    say "the data in $data is removed. Domains stay defined in libvirt (virsh list --all); pools elsewhere were not touched."
  else
    say "the host's identity and its disks stay in $data ; $data/uninstall-agent.sh --purge removes them."
  fi
  say 'On the server the host is still known: remove it there with  sheaf host remove NAME .'
}

main "$@"
