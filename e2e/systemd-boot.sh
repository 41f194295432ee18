#!/bin/sh
# Pid 1 of a machine with systemd, in namespaces of its own: this machine's files under an overlay, so that it may write anywhere and
# nothing of it stays. Started by systemd-machine.ts with a folder and the folder that is to be seen as /media.
set -eu
folder=$1 shared=$2
mount --make-rprivate /
mount -t tmpfs overlay "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
cd "$folder/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t tmpfs -o mode=755 run run
mount -t tmpfs tmp tmp
mount --bind "$shared" media
mount -t tmpfs -o mode=755 cgroups sys/fs/cgroup
# With version 1 systemd keeps its units apart by a hierarchy without controllers; where there is version 2 alone it takes that.
# Looked up, not tried: where it is not there, the mount would make it for the whole machine.
if grep -q ':name=systemd:' /proc/self/cgroup; then
  mkdir sys/fs/cgroup/systemd
  mount -t cgroup -o none,name=systemd systemd sys/fs/cgroup/systemd
else
  umount sys/fs/cgroup
  mount -t cgroup2 cgroups sys/fs/cgroup
fi
# Services of this machine are none of the copy's business.
rm -rf etc/systemd/system/* etc/libvirt/qemu
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >etc/systemd/system/copy.target
# What Debian's libvirt-daemon-system brings; the daemon alone is installed here.
cat >etc/systemd/system/libvirtd.service <<UNIT
[Service]
ExecStart=/usr/sbin/libvirtd
ExecStartPre=/bin/mkdir -p /var/log/libvirt/qemu /run/lock
KillMode=process
UNIT
printf 'stdio_handler = "file"\nsecurity_driver = "none"\nnamespaces = [ ]\ncgroup_controllers = [ ]\n' >etc/libvirt/qemu.conf
pivot_root . mnt
cd /
umount -l /mnt
ip link set lo up
ip addr add 10.9.9.1/24 dev lo
container=lxc exec /lib/systemd/systemd --system --unit=copy.target --show-status=no
