#!/bin/bash
# Pid 1 of a lab host: started by lab-host.ts inside all new namespaces, with the host's
# directory, the shared directory, the host's and the lab's name, then the names of its
# cgroup v1 controllers. It lays out the host's own view of the file system, starts
# libvirtd, and then only reaps orphans: QEMU is its child, and an unreaped QEMU counts
# as alive for libvirt, so "destroy" would time out.
# It must never mount anything that another mount namespace can see.
set -eu
umask 022
d=$1 shared=$2 name=$3 lab=$4; shift 4
hostname "$name"
mount --make-rprivate /
# A fresh sysfs shows this network namespace; then this host's own cgroups.
umount -R /sys 2>/dev/null || umount -l /sys
mount -t sysfs sysfs /sys
if [ $# -gt 0 ]; then
  mount -t tmpfs -o mode=755 cgroups /sys/fs/cgroup
  for c in "$@"; do
    mkdir "/sys/fs/cgroup/$c"; mount -t cgroup -o "$c" cgroup "/sys/fs/cgroup/$c"
  done
fi
if [ -d "$d/node" ]; then mount --bind "$d/node" /sys/devices/system/node; fi   # NUMA cells of its own
# Mount points on a private tmpfs: nothing is left on the machine itself.
# All paths are the same in every host, which migration needs.
mount -t tmpfs -o mode=755 lab /mnt
mkdir /mnt/shared /mnt/local /mnt/cluster
mount --bind "$shared" /mnt/shared               # the same storage in every host
mount --bind "$d/local" /mnt/local               # this host's own storage
mount --bind "$d/etc" /etc/libvirt
mount --bind "$d/var" /var/lib/libvirt
mount --bind "$d/cache" /var/cache/libvirt
mount --bind "$d/log" /var/log/libvirt
mount --bind "$d/agent" /var/lib/sheaf
mount --bind "$d/machine-id" /etc/machine-id
mount --bind "$d/hostname" /etc/hostname
mount --bind "$d/hosts" /etc/hosts
mount --bind "$d/boot_id" /proc/sys/kernel/random/boot_id
# A /dev/kvm that cannot boot guests must not be offered as "kvm". KVM is honest only
# when the CPU shows it. The cover has to be unwritable: as long as access(2) says it is
# usable, libvirt finds its cached view of QEMU outdated and probes QEMU again, 18 times
# in one "define" (10 s). A read-only plain file does it even for root.
if [ -c /dev/kvm ] && ! grep -qE '^flags.*\b(svm|vmx)\b' /proc/cpuinfo; then
  mount --bind "$d/hostname" /dev/kvm; mount -o remount,bind,ro /dev/kvm
fi
mount --bind "$d/run" /run                       # last: the socket is seen outside
mkdir -p /run/lock                               # libvirt locks a console's pty there
# The same shared directory once more, through FUSE and under a type that libvirt takes
# for cluster storage: live migration then needs no UNSAFE flag.
if command -v bindfs >/dev/null && [ -c /dev/fuse ]; then
  bindfs -o fsname=lab,subtype=glusterfs,allow_other /mnt/shared /mnt/cluster
fi
trap : TERM INT HUP
"$d/start-libvirtd"
exec -a "lab-host-$lab-$name" bash -c 'trap : TERM INT HUP CHLD; while :; do sleep 3600 & wait $!; done'
