/**
 * The first program of the virtual machine: makes it a machine like any other, runs the job that the host put into the
 * file system, and switches the machine off. The kernel's messages go to the serial line; the job reads from and
 * writes to a virtio port of its own, so that neither is mixed into the other.
 */

/** Where the job is, in the machine: a script for sh. */
export const JOB = 'job.sh';
/** Where the sources are, in the machine. */
export const SOURCES = 'kube-proxy';

export const INIT = `#!/bin/sh
export PATH=/usr/bin HOME=/root TERM=linux LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
ln -s /proc/self/fd /dev/fd
ip link set lo up
hostname vm
modprobe virtio_pci
modprobe virtio_console
# As whoever sets up a node does, so that packets between the ports of a bridge are seen and translated.
modprobe br_netfilter
# What the program wants by default, and what only the first network namespace may say.
modprobe nf_conntrack
echo 131072 > /proc/sys/net/netfilter/nf_conntrack_max
until [ -e /dev/vport0p1 ]; do sleep 0.01; done
exec 3<>/dev/vport0p1
cd /${SOURCES}
# Through cat: programs treat a pipe alike, and the port like nothing else.
sh /${JOB} <&3 2>&1 3<&- | cat >&3
poweroff -f
`;
