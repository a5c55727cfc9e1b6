#!/bin/sh
# First process of the guest kernel (see uml.py): makes a throw-away root over the host's files, runs one command, powers off.
#
# $1 is the folder with command.sh. The host's root file system is mounted read-only; what the guest writes goes to a
# tmpfs laid over it and is gone with the guest. Output and exit status travel over the console between two markers.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8

power_off() {
    echo o > /proc/sysrq-trigger
    # The kernel powers off in its own time; leaving process 1 before that would be a panic.
    while :; do sleep 1; done
}

fail() {
    echo "mnbed-guest: cannot set up the guest: $1"
    dmesg | tail -n 5
    power_off
}

lacks() {
    echo "mnbed-guest: lacks $1"
    power_off
}

has_module() { # name
    grep -qsE "/$1\.ko(\.[a-z]+)?(:|$)" "$modules/$(uname -r)/modules.dep" "$modules/$(uname -r)/modules.builtin"
}

modules=/usr/lib/uml/modules
needed="sch_netem sch_htb cls_u32 veth bridge openvswitch"
command=$(cat "$1/command.sh")

# Only /mnt is used below, so whatever else the host has mounted stays visible.
mount -t proc proc /proc || exit 1
for module in overlay $needed; do
    has_module "$module" || lacks "the kernel module $module, in $modules/$(uname -r)"
done
mount -t tmpfs -o size=75% tmpfs /mnt || fail "no tmpfs"
mkdir -p /mnt/written /mnt/overlay /mnt/root /mnt/modprobe/lib
ln -s $modules /mnt/modprobe/lib/modules
modprobe -d /mnt/modprobe overlay || fail "the module overlay cannot be loaded"
mount -t overlay -o lowerdir=/,upperdir=/mnt/written,workdir=/mnt/overlay overlay /mnt/root || fail "overlay mount failed"

cd /mnt/root || fail "no new root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs devtmpfs dev
mkdir -p dev/pts dev/shm
mount -t devpts devpts dev/pts
mount -t tmpfs tmpfs dev/shm
# Sockets, locks and named namespaces in the host's /run belong to the host.
mount -t tmpfs tmpfs run
mkdir -p run/lock run/old
pivot_root . run/old || fail "pivot_root failed"
cd / || fail "no new root"
umount -l /run/old

# modprobe looks in /lib/modules/VERSION, which the host has for its own kernel only.
release=$(uname -r)
mkdir -p /lib/modules
rm -rf "/lib/modules/$release"
ln -s "$modules/$release" "/lib/modules/$release"
# All of them now, by name: a modprobe that the kernel starts by itself has no environment, and may use registers that a
# guest with the old ones does not keep (see uml.py). What is missing here fails loudly where it is used.
for module in $needed; do
    modprobe "$module" || fail "the module $module cannot be loaded"
done
echo > /proc/sys/kernel/modprobe
echo mnbed-guest > /proc/sys/kernel/hostname
ip link set lo up

echo "mnbed-guest: begin"
# Through a pipe, so that the command sees no terminal.
{ sh -c "$command" < /dev/null; echo $? > /run/status; } 2>&1 | cat
echo
echo "mnbed-guest: status $(cat /run/status)"
power_off
