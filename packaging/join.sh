#!/bin/sh
# Makes this machine a host of a Sheaf site. Run by the line that `sheaf host add` prints, which pins this script by its digest; this
# script in turn believes nothing of the network that the line does not pin. May be run again: what is done already is not done twice,
# and a newer agent replaces an older one while the guests run on. Needs a POSIX shell, curl or wget, and what every Linux has.
set -eu
umask 022
export LC_ALL=C

programs=/opt/sheaf
data=/var/lib/sheaf/agent
configuration=/etc/sheaf
unit=/etc/systemd/system/sheaf-agent.service
pulse_unit=/etc/systemd/system/sheaf-pulse.service
scratch=

say() { printf 'sheaf: %s\n' "$*" >&2; }
# fail CODE SENTENCE NEXT-STEP: as the command line's exit codes (1 failed, 2 usage, 4 refused, 5 not allowed, 6 unreachable)
fail() {
  code=$1
  shift
  for sentence in "$@"; do say "$sentence"; done
  exit "$code"
}
have() { command -v "$1" >/dev/null 2>&1; }
has_systemd() { [ -d /run/systemd/system ] && have systemctl; }
clean_up() { [ -z "$scratch" ] || rm -rf "$scratch"; rmdir "$programs" 2>/dev/null || :; }

usage='usage: --server URL --token TOKEN --fingerprint sha256:HEX --agent PLATFORM=SHA256 [--name NAME] [--address IP] [--no-packages]'
parse_words() {
  server='' token='' fingerprint='' agents='' name='' address='' packages=yes
  while [ $# -gt 0 ]; do
    case $1 in
      --no-packages) packages=no; shift; continue ;;
      --server | --token | --fingerprint | --agent | --name | --address) [ $# -ge 2 ] || fail 2 "$1 needs a value." "$usage" ;;
      *) fail 2 "$1 is not known." "$usage" ;;
    esac
    case $2 in *[!A-Za-z0-9_.:/=@%+,\[\]-]*) fail 2 "the value of $1 has characters that none of them has." "$usage" ;; esac
    case $1 in
      --server) server=$2 ;;
      --token) token=$2 ;;
      --fingerprint) fingerprint=$(printf %s "${2#sha256:}" | tr A-F a-f) ;;
      --agent) agents="$agents $2" ;;
      --name) name=$2 ;;
      --address) address=$2 ;;
    esac
    shift 2
  done
  case $server in https://?*) ;; *) fail 2 "--server must be an https address." "$usage" ;; esac
  [ -n "$token" ] && [ -n "$fingerprint" ] || fail 2 'the line is not whole.' "$usage"
}

need_root() { [ "$(id -u)" = 0 ] || fail 5 'root is needed to make this machine a host.' 'Run the same line as root (sudo -i, then the line).'; }

need_tools() {
  for tool in tar gzip sha256sum base64 mktemp sed tr uname setpriv; do
    have "$tool" || fail 1 "the program $tool is missing here." "Install it, then run the same line again."
  done
  have curl || have wget || fail 1 'neither curl nor wget is here.' 'Install one of them, then run the same line again.'
}

# platform_of MACHINE
platform_of() {
  case $1 in
    x86_64 | amd64) echo linux-x64 ;;
    aarch64 | arm64) echo linux-arm64 ;;
    *) fail 4 "there is no agent for the architecture $1." 'A host is an x86_64 or an aarch64 machine.' ;;
  esac
}

# pinned_archive PLATFORM PINS...: the digest that the line gives for it
pinned_archive() {
  for pin in $2; do
    case $pin in "$1"=*) printf '%s\n' "${pin#*=}"; return ;; esac
  done
  fail 4 "this line has no agent for $1: the server has no such archive." "Run  npm run package -- --platform $1  in a clone of the same version, copy the agent's archive and its .sha256 from dist/ into agents/ of the server's data folder, then run  sheaf host add  again."
}

digest_of() { sha256sum "$1" | sed 's/ .*//'; }
# Of a certificate, as browsers and openssl tell it: over its DER form.
fingerprint_of() { sed -n '/BEGIN CERTIFICATE/,/END CERTIFICATE/{/CERTIFICATE/d;p;}' "$1" | base64 -d 2>/dev/null | sha256sum | sed 's/ .*//'; }

# fetch URL FILE [AUTHORITY]: without an authority only for what is compared with a digest afterwards
fetch() {
  if have curl; then
    if [ -n "${3:-}" ]; then
      curl --fail --silent --show-error --connect-timeout 20 --speed-limit 1 --speed-time 60 --cacert "$3" --output "$2" "$1"
    else
      curl --fail --silent --show-error --connect-timeout 20 --max-time 60 --insecure --output "$2" "$1"
    fi
  elif [ -n "${3:-}" ]; then
    wget -nv -T 60 -t 2 --ca-certificate="$3" -O "$2" "$1" 2>"$scratch/wget" || { cat "$scratch/wget" >&2; return 1; }
  else
    wget -nv -T 20 -t 2 --no-check-certificate -O "$2" "$1" 2>"$scratch/wget" || { cat "$scratch/wget" >&2; return 1; }
  fi
}

fetch_authority() {
  fetch "$server/authority.pem" "$scratch/authority.pem" ||
    fail 6 "the server at $server cannot be reached from here." 'Is it running, and do firewalls let its port through? Then run the same line again.'
  found=$(fingerprint_of "$scratch/authority.pem")
  [ "$found" = "$fingerprint" ] ||
    fail 4 "the server at $server is not the one this line is for: its authority has the fingerprint sha256:$found, the line says sha256:$fingerprint." \
      'Nothing was installed. Is the address right? Ask for a new line with  sheaf host add ; do not join a server that you cannot verify.'
}

fetch_agent() {
  say "fetching the agent for $platform"
  fetch "$server/agent-archives/$platform" "$scratch/agent.tar.gz" "$scratch/authority.pem" ||
    fail 6 "the agent's archive could not be fetched from $server." 'Look at the words above and at the server, then run the same line again.'
  found=$(digest_of "$scratch/agent.tar.gz")
  [ "$found" = "$wanted" ] ||
    fail 4 "the agent's archive is not the one this line is for: its digest is sha256:$found, the line says sha256:$wanted." \
      'Nothing was installed. The server was upgraded since, or somebody changed the archive: ask for a new line with  sheaf host add .'
}

# os_field FILE NAME
os_field() { sed -n "s/^$2=//p" "$1" 2>/dev/null | tr -d '"' | sed 1q; }
is_debian() { case " $(os_field "$1" ID) $(os_field "$1" ID_LIKE) " in *' debian '* | *' ubuntu '*) return 0 ;; *) return 1 ;; esac; }

# The programs a host needs, whatever its distribution calls their packages.
missing_programs() {
  missing=
  case $platform in linux-x64) emulator=qemu-system-x86_64 ;; *) emulator=qemu-system-aarch64 ;; esac
  for program in libvirtd qemu-img ip "$emulator"; do
    case $program in "$emulator") ! [ -x /usr/libexec/qemu-kvm ] || continue ;; esac
    have "$program" || missing="$missing $program"
  done
  # Debian's libvirtd comes without its unit when only its daemon's package was chosen.
  if has_systemd && ! systemctl --quiet cat libvirtd.service >/dev/null 2>&1; then missing="$missing libvirtd.service"; fi
  printf %s "$missing"
}

debian_packages() {
  common='libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients qemu-utils iproute2'
  case $1 in
    linux-x64) echo "$common qemu-system-x86 ovmf swtpm swtpm-tools" ;;
    *) echo "$common qemu-system-arm qemu-efi-aarch64 swtpm swtpm-tools" ;;
  esac
}

# Before anything is fetched: can what is missing be installed at all?
check_distribution() {
  [ -n "$(missing_programs)" ] || return 0
  if [ "$packages" = yes ] && is_debian /etc/os-release && have apt-get; then return 0; fi
  if [ "$packages" = no ]; then why='--no-packages was given'; else why="$(os_field /etc/os-release PRETTY_NAME) is neither Debian nor Ubuntu"; fi
  fail 4 "these programs are missing, and cannot be installed from here, as $why:$(missing_programs)." \
    "Install libvirt with its QEMU driver, QEMU, qemu-img and iproute2 by your system's means, then run the same line again."
}

install_packages() {
  [ -n "$(missing_programs)" ] || return 0
  say "installing libvirt and QEMU from the distribution (missing:$(missing_programs))"
  apt='apt-get -qq -o DPkg::Lock::Timeout=300'
  # Its messages are shown only where it fails. Words are split on purpose: names of packages.
  # shellcheck disable=SC2046,SC2086
  if ! { $apt update && DEBIAN_FRONTEND=noninteractive $apt install -y --no-install-recommends $(debian_packages "$platform"); } \
    >"$scratch/apt" 2>&1 </dev/null; then
    tail -n 15 "$scratch/apt" >&2
    fail 1 'the packages of libvirt and QEMU could not be installed.' 'Mend what apt-get says above, then run the same line again: it goes on from here.'
  fi
  [ -z "$(missing_programs)" ] || fail 1 "these programs are still missing:$(missing_programs)." 'Install them, then run the same line again.'
}

# The address of this host on its way to the server; empty where that cannot be told.
address_towards() {
  target=${1#https://}
  case $target in \[*) target=${target#\[}; target=${target%%\]*} ;; *) target=${target%%[:/]*} ;; esac
  have ip || return 0
  resolved=$(getent ahosts "$target" 2>/dev/null | sed -n '1s/ .*//p')
  ip -o route get "${resolved:-$target}" 2>/dev/null | sed -n 's/.* src \([^ ]*\).*/\1/p'
}

unpack() {
  mkdir "$scratch/agent"
  tar -xzf "$scratch/agent.tar.gz" -C "$scratch/agent" --strip-components=1 --no-same-owner ||
    fail 1 "the agent's archive could not be unpacked in $programs." 'Is the disk full? Make room, then run the same line again.'
  node="$scratch/agent/node_modules/.bin/node"
  "$node" --version >/dev/null 2>&1 || fail 1 "the agent's own Node does not run here." "It needs glibc 2.28 or newer: $(uname -a)"
}

run_agent() { "$node" --disable-warning=ExperimentalWarning "$scratch/agent/apps/agent/main.ts" --data "$data" "$@"; }

join_site() {
  say "joining $server"
  set -- --join-only --server "$server" --ca-fingerprint "sha256:$fingerprint"
  [ -z "$name" ] || set -- "$@" --name "$name"
  [ -z "$address" ] || set -- "$@" --address "$address"
  # The token goes by the environment, which other users cannot read. The agent's own words tell what went wrong.
  export SHEAF_JOIN_TOKEN="$token"
  run_agent "$@" || exit $?
  unset SHEAF_JOIN_TOKEN
}

install_agent() {
  digits=$(printf %.12s "$wanted")
  rm -rf "$programs/agent-$digits"
  mv "$scratch/agent" "$programs/agent-$digits"
  printf '%s\n' "$wanted" >"$programs/agent-$digits/archive.sha256"
  # What a line installs is on no trial: the person at the line sees whether it works.
  rm -f "$programs"/trial "$programs"/trial.*
  cp "$programs/agent-$digits/packaging/agent/start.sh" "$scratch/start-agent"
  mv "$scratch/start-agent" "$programs/start-agent"
  ln -s "agent-$digits" "$scratch/current"
  mv -T "$scratch/current" "$programs/agent"
}

# Earlier agents, once the new one runs.
remove_earlier() {
  for old in "$programs"/agent-*; do [ "$old" = "$programs/$(readlink "$programs/agent")" ] || rm -rf "$old"; done
}

# qemu_setting NAME: as qemu.conf sets it, empty where it leaves the default
qemu_setting() { sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*//p" /etc/libvirt/qemu.conf 2>/dev/null | tr -d '"' | sed -n '$p'; }

# QEMU reads the keys of migrations as its own group.
qemu_group() {
  group=$(qemu_setting group)
  [ -n "$group" ] || group=$(id -gn libvirt-qemu 2>/dev/null || id -gn qemu 2>/dev/null || echo root)
  echo "${group#+}"
}

configure() {
  certificates=$(qemu_setting migrate_tls_x509_cert_dir)
  [ -n "$certificates" ] || certificates=$(qemu_setting default_tls_x509_cert_dir)
  [ -n "$certificates" ] || certificates=/etc/pki/qemu
  mkdir -p "$certificates" "$configuration"
  {
    echo '# Written when this host joined; read by the unit sheaf-agent.service and by packaging/agent/run.sh.'
    echo "SHEAF_AGENT_OPTIONS=\"--pki $certificates${address:+ --address $address}\""
    echo "SHEAF_QEMU_GROUP=$(qemu_group)"
  } >"$configuration/agent.conf"
  [ -z "$(qemu_setting default_tls_x509_verify)" ] || return 0
  # Both ends of a migration show a certificate of this site.
  printf '\n# Sheaf: both ends of a migration show their certificate.\ndefault_tls_x509_verify = 1\n' >>/etc/libvirt/qemu.conf
  libvirt_changed=yes
}

start_agent() {
  if has_systemd; then
    sed "s/^Group=.*/Group=$(qemu_group)/; s|^ReadWritePaths=.*|ReadWritePaths=-$certificates|" "$programs/agent/packaging/agent/sheaf-agent.service" >"$unit"
    cp "$programs/agent/packaging/agent/sheaf-pulse.service" "$pulse_unit"
    systemctl daemon-reload
    [ "$libvirt_changed" = no ] || systemctl try-restart libvirtd.service || :
    systemctl --quiet enable sheaf-agent.service sheaf-pulse.service
    systemctl restart sheaf-pulse.service sheaf-agent.service && wait_for_agent ||
      fail 1 'the agent does not start.' 'See  journalctl -u sheaf-agent , then run the same line again.'
    return
  fi
  say "this machine has no systemd: the agent is started by $programs/agent/packaging/agent/run.sh, which you must have run at every start of the machine"
  "$programs/agent/packaging/agent/run.sh" restart || fail 1 'the agent does not start.' 'See /var/lib/sheaf/agent.log, then run the same line again.'
}

wait_for_agent() {
  tries=0
  until [ -e /run/sheaf-agent/running ]; do
    tries=$((tries + 1))
    [ "$tries" -le 60 ] || return 1
    sleep 0.5
  done
}

agent_runs() { if has_systemd; then systemctl --quiet is-active sheaf-agent.service; else "$programs/agent/packaging/agent/run.sh" status >/dev/null 2>&1; fi; }

# fingerprint_of_site IDENTITY: of the authority in the agent's own file, where it is a word with \n for each end of line
fingerprint_of_site() { printf '%b' "$(sed -n 's/.*"authority":"\([^"]*\)".*/\1/p' "$1")" | fingerprint_of /dev/stdin; }

# Sets `joined`; ends here where there is nothing to do.
look_at_earlier() {
  joined=no
  [ -f "$data/identity.json" ] || return 0
  joined=yes
  [ "$(fingerprint_of_site "$data/identity.json")" = "$fingerprint" ] ||
    fail 4 'this machine is a host of another Sheaf site already, or was one and kept its data.' \
      "Remove that first, its guests stopped or moved away:  $programs/agent/packaging/uninstall-agent.sh --purge  (or that script in ${data%/*})."
  if [ "$(cat "$programs/agent/archive.sha256" 2>/dev/null)" = "$wanted" ] && agent_runs; then
    say 'this machine is a host of this site already, and its agent runs: nothing to do.'
    exit 0
  fi
}

main() {
  parse_words "$@"
  need_root
  need_tools
  platform=$(platform_of "$(uname -m)")
  wanted=$(pinned_archive "$platform" "$agents")
  libvirt_changed=no
  look_at_earlier
  check_distribution
  trap clean_up EXIT
  trap 'exit 130' INT TERM HUP
  mkdir -p "$programs"
  # Beside its place, so that taking its place is one step.
  scratch=$(mktemp -d "$programs/.join.XXXXXX")
  fetch_authority
  fetch_agent
  unpack
  [ -n "$address" ] || address=$(address_towards "$server")
  [ "$joined" = yes ] || join_site
  install_packages
  install_agent
  configure
  start_agent
  remove_earlier
  say "done: this host has joined $server. On the server:  sheaf host list"
}

# The last line: a script of which a part is missing does nothing.
main "$@"
