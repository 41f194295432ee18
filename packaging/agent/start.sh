#!/bin/sh
# Starts the agent, and goes back to the version before where a new one does not prove itself: it ended three times, or was not connected to
# its server within a minute. Joining copies it beside the versions (/opt/sheaf/start-agent), so that what judges a version is no part of it.
# Run by sheaf-agent.service and by run.sh; its words are the agent's. Ending it ends the agent, never a guest.
#
# Beside it:  agent          a link to the version that is started
#             trial          there while a new version is on trial: order, version, from, to. Written by the agent that switches, removed by
#                            the new one when it has proved itself (packages/agent/src/archive-installation.ts)
#             trial.starts   how often that one was started
#             trial.failed   what became of the last one that was given up: as trial, and why
set -u
umask 022

programs=$(dirname "$0")
trial=$programs/trial
attempts=3
seconds=${SHEAF_TRIAL_SECONDS:-60}
# The agent ends with this where another version is to be started at once.
again=75

field() { sed -n "s/^$1=//p" "$trial" 2>/dev/null | sed 1q; }
end_trial() { rm -f "$trial" "$trial.starts" "$trial.late"; }

# go_back WHY: at each point where it may be cut off, the next start goes on with it
go_back() {
  from=$(field from)
  if [ -z "$from" ] || ! [ -x "$programs/$from/node_modules/.bin/node" ]; then
    echo "start-agent: there is no version to go back to" >&2
    end_trial
    return
  fi
  echo "start-agent: version $(field version) is given up, back to $from: $1" >&2
  { cat "$trial" && echo "why=$1"; } >"$trial.new" && mv -f "$trial.new" "$trial.failed"
  ln -sfn "$from" "$programs/.agent" && mv -fT "$programs/.agent" "$programs/agent"
  end_trial
}

# Before each start: is this one on trial, and may it still be started?
look_at_trial() {
  on_trial=no
  [ -e "$trial" ] || return 0
  if [ "$(readlink "$programs/agent")" != "$(field to)" ]; then end_trial; return 0; fi
  starts=$(cat "$trial.starts" 2>/dev/null) || starts=0
  if [ "$starts" -ge "$attempts" ]; then go_back "it ended $starts times before it had proved itself${code:+, the last time with code $code}"; return 0; fi
  echo $((starts + 1)) >"$trial.starts"
  on_trial=yes
}

# watch PID: ends an agent that is still on trial when its time is over
watch() {
  waited=0
  while [ "$waited" -lt "$seconds" ]; do
    sleep 1
    [ -e "$trial" ] || return 0
    waited=$((waited + 1))
  done
  touch "$trial.late"
  kill -TERM "$1" 2>/dev/null || return 0
  sleep 5
  kill -KILL "$1" 2>/dev/null
}

child='' watcher='' code=''
# shellcheck disable=SC2317 # called by the traps
stop() {
  trap - TERM INT
  [ -z "$watcher" ] || kill "$watcher" 2>/dev/null
  [ -z "$child" ] || { kill -TERM "$child" 2>/dev/null; wait "$child"; }
  exit 0
}
main() {
  trap stop TERM INT
  while :; do
    look_at_trial
    "$programs/agent/node_modules/.bin/node" --disable-warning=ExperimentalWarning "$programs/agent/apps/agent/main.ts" --programs "$programs" "$@" &
    child=$!
    watcher=''
    if [ "$on_trial" = yes ]; then watch "$child" & watcher=$!; fi
    wait "$child"
    code=$?
    child=''
    [ -z "$watcher" ] || kill "$watcher" 2>/dev/null
    [ "$code" != "$again" ] || continue
    [ "$on_trial" = yes ] && [ -e "$trial" ] || exit "$code"
    if [ -e "$trial.late" ]; then go_back "it was not connected to its server within $seconds s"; fi
    sleep 0.3
  done
}

main "$@"
exit
