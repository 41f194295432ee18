#!/bin/sh
# Runs the agent where no systemd does: containers, other init systems. `start` puts it into the background and starts it again whenever it
# ends by itself; `foreground` does the same for an init system that watches over it. Ending it never ends a guest.
#   run.sh start | stop | restart | status | foreground
set -eu
umask 022

here=/opt/sheaf/agent
program=/opt/sheaf/start-agent
data=/var/lib/sheaf/agent
state=/run/sheaf-agent
log=/var/lib/sheaf/agent.log
socket=/run/libvirt/libvirt-sock

# The process that watches over the agent, if the file names one that lives and is this script.
watcher() {
  pid=$(cat "$state/pid" 2>/dev/null) || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q 'run\.sh foreground' || return 1
  echo "$pid"
}

# Guests are libvirt's. Where nobody starts it, it is started here, on its own, and left alone afterwards.
ensure_libvirtd() {
  [ ! -S "$socket" ] || return 0
  mkdir -p /run/libvirt /run/lock /var/log/libvirt/qemu
  libvirtd --daemon
}

foreground() {
  SHEAF_AGENT_OPTIONS='' SHEAF_QEMU_GROUP=root
  # shellcheck source=/dev/null
  [ ! -f /etc/sheaf/agent.conf ] || . /etc/sheaf/agent.conf
  mkdir -p "$state"
  echo $$ >"$state/pid"
  child=
  trap 'trap - TERM INT; [ -z "$child" ] || { kill -TERM "$child"; wait "$child" || :; }; rm -f "$state/pid" "$state/running"; exit 0' TERM INT
  # As in the unit: QEMU reads the keys of encrypted migrations by its group; root keeps five of its capabilities.
  as="setpriv --regid=$SHEAF_QEMU_GROUP --keep-groups --no-new-privs --inh-caps=-all"
  as="$as --bounding-set=-all,+chown,+dac_override,+dac_read_search,+fowner,+net_admin"
  while :; do
    rm -f "$state/running"
    # Options are split on purpose.
    # shellcheck disable=SC2086
    $as "$program" --data "$data" --running "$state/running" $SHEAF_AGENT_OPTIONS &
    child=$!
    wait "$child" || :
    child=
    sleep 2 &
    child=$!
    wait "$child" || :
    child=
  done
}

start() {
  if pid=$(watcher); then echo "the agent runs already (process $pid)"; return; fi
  ensure_libvirtd
  mkdir -p "$state"
  rm -f "$state/running"
  setsid "$here/packaging/agent/run.sh" foreground </dev/null >>"$log" 2>&1 &
  tries=0
  until [ -e "$state/running" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 60 ]; then echo "the agent does not run after 30 s; its log is $log" >&2; return 1; fi
    sleep 0.5
  done
  echo "the agent runs (process $(watcher)); its log is $log"
}

stop() {
  pid=$(watcher) || { echo 'the agent does not run'; return 0; }
  kill -TERM "$pid"
  tries=0
  while [ -e "/proc/$pid" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 40 ]; then echo "the agent (process $pid) does not end" >&2; return 1; fi
    sleep 0.5
  done
  echo 'the agent is stopped; guests run on'
}

main() {
  case ${1:-} in
    start) start ;;
    stop) stop ;;
    restart) stop && start ;;
    status) if pid=$(watcher); then echo "the agent runs (process $pid)"; else echo 'the agent does not run'; return 3; fi ;;
    foreground) ensure_libvirtd && foreground ;;
    *) echo 'usage: run.sh start | stop | restart | status | foreground' >&2; return 2 ;;
  esac
}

main "$@"
exit
