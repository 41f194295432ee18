#!/bin/bash
# Builds the small guest image from Debian packages, without mounts or loop devices: nothing to
# clean up but the working directory, which the caller (guest-image.ts) gives and removes.
#   build.sh SOURCE WORK OUT
#   OUT/vmlinux     uncompressed kernel with a PVH entry, for direct kernel boot
#   OUT/initrd.gz   busybox, drivers and the guest's scripts; a system of its own, or, with
#                   lab.root=DEVICE or lab.root=LABEL=NAME, the way to the root disk
#   OUT/mini.qcow2  76 MiB disk: MBR, FAT with syslinux and kernel, ext4 root
#   OUT/packages    name and version of each Debian package in it
set -euo pipefail
umask 022
source=$1 w=$2 out=$3
fail() { echo "$*" >&2; exit 1; }
cd "$w"; chmod 755 .
[ "$(uname -m)" = x86_64 ] || fail "the guest image is built on x86-64 only, this is $(uname -m)"
kernel=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }')
[ -n "$kernel" ] || fail "apt knows no package linux-image-cloud-amd64: run 'apt-get update' (Debian 12 or newer is needed)"
# shellcheck disable=SC2086
apt-get download -qq "$kernel" qemu-guest-agent dropbear-bin $(apt-cache depends dropbear-bin | awk '/Depends: libtom/ { print $2 }') >apt.log 2>&1 ||
  fail "cannot download $kernel, qemu-guest-agent, dropbear-bin: run 'apt-get update' ($(grep -m1 '^E:' apt.log || true))"
for f in *.deb; do dpkg-deb -x "$f" k; dpkg-deb -W --showformat='${Package} ${Version}\n' "$f" >>"$out/packages"; done
dpkg-query -W -f '${Package} ${Version}\n' busybox-static syslinux >>"$out/packages"

# The compressed kernel holds an LZ4 stream; its magic is 02 21 4c 18. lz4 reports
# the bytes after the stream as an error; the kernel is whole all the same.
off=$(LC_ALL=C grep -aobP '\x02\x21\x4c\x18' k/boot/vmlinuz-* | head -1 | cut -d: -f1)
tail -c +$((off + 1)) k/boot/vmlinuz-* | lz4 -dc >"$out/vmlinux" 2>/dev/null || true
[ -s "$out/vmlinux" ] || fail "the kernel in $kernel is not compressed as expected (LZ4)"

add_module() { # NAME: copies a module after all it depends on, in load order
  local f d; f=$(find k/lib/modules -name "$1.ko" -o -name "${1//_/-}.ko" -o -name "${1//-/_}.ko" | head -1)
  [ -n "$f" ] && [ ! -e "r/lib/mod/$(basename "$f")" ] || return 0
  for d in $(tr '\0' '\n' <"$f" | LC_ALL=C grep -a -m1 '^depends=' | cut -d= -f2 | tr , ' '); do add_module "$d"; done
  cp "$f" r/lib/mod/; basename "$f" >>r/lib/mod/order
}
mkdir -p r/{bin,dev,proc,sys,etc,mnt,run,tmp,root,home/debian,lib/mod,var/lib/cloud,var/log,usr/sbin,usr/share/mini}
cp /bin/busybox r/bin/; for a in $(busybox --list); do [ -e "r/bin/$a" ] || ln -s busybox "r/bin/$a"; done
ln -s bin r/sbin; ln -s ../bin r/usr/bin; ln -s /run r/var/run
cp -r "$source/etc/." r/etc/; cp "$source"/*.awk "$source"/index.html r/usr/share/mini/; cp "$source/init" r/init
for f in shutdown bash mini-counter mini-seed mini-dhcp mini-login mini-uevent; do cp "$source/$f" r/bin/; chmod 755 r/bin/$f; done
chmod 755 r/init r/etc/rc r/etc/acpi/PWRF/*; chmod 1777 r/tmp; chmod 700 r/root; chmod 600 r/etc/shadow; chown -R 1000:1000 r/home/debian
for f in virtio_pci virtio_blk virtio_scsi sd_mod ata_piix sr_mod virtio_net virtio_balloon virtio_console virtio-rng \
  isofs vfat nls_cp437 nls_ascii evdev button pvpanic-mmio; do add_module $f; done
(cd r && find . | cpio -o -H newc --quiet | gzip -9n) >"$out/initrd.gz"

# The guest agent, the SSH server and their libraries go to the disk only: the initrd stays at 1.5 MB.
cp k/usr/sbin/qemu-ga k/usr/sbin/dropbear r/usr/sbin/
libraries=$(dirname "$(find k/usr/lib -name 'libtomcrypt.so*' | head -1)")
LD_LIBRARY_PATH=$libraries ldd k/usr/sbin/qemu-ga k/usr/sbin/dropbear >needed
if grep 'not found' needed >&2; then fail "a library of qemu-ga or dropbear is missing: install qemu-system-x86 and zlib1g"; fi
grep -o '[^ ]*/[^ ]* (' needed | cut -d' ' -f1 | sort -u | while read -r f; do
  to=${f/#$libraries//usr/lib}; mkdir -p "r$(dirname "$to")"; cp -L "$f" "r$to"
done
mke2fs -q -t ext4 -L mini-root -J size=4 -m 0 -d r root.ext4 48M >/dev/null
truncate -s 24M boot.fat; mformat -i boot.fat ::
printf '%s\n' 'SERIAL 0 115200' 'DEFAULT mini' 'PROMPT 0' 'LABEL mini' ' KERNEL /vmlinuz' ' INITRD /initrd.gz' \
  ' APPEND console=tty0 console=ttyS0 quiet nokaslr panic=1 no_timer_check lab.root=LABEL=mini-root' >syslinux.cfg
cp k/boot/vmlinuz-* vmlinuz; mcopy -i boot.fat vmlinuz "$out/initrd.gz" syslinux.cfg ::
syslinux --install boot.fat
truncate -s 76M disk.raw
printf '%s\n' 'label: dos' 'start=2048,size=49152,type=c,bootable' 'start=51200,size=98304,type=83' | sfdisk -q disk.raw
dd if=/usr/lib/syslinux/mbr/mbr.bin of=disk.raw bs=440 count=1 conv=notrunc status=none
dd if=boot.fat of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
dd if=root.ext4 of=disk.raw bs=1M seek=25 conv=notrunc,sparse status=none
qemu-img convert -c -O qcow2 disk.raw "$out/mini.qcow2"
