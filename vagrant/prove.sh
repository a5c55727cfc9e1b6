#!/usr/bin/env bash
# Proves that `vagrant up` works: a box made here, libvirt, install.sh, the quickstart, a second provision, destroy.
#
# libvirt gets namespaces of its own (network, mounts, processes), so that this machine's networks, its libvirt and its
# Vagrant stay as they are and everything ends with this script. The way out to Debian's and PyPI's servers is
# slirp4netns. Software emulation where there is no KVM: some 25 minutes on two processors. docs/vagrant.md
# Exit status: 0 proved; 1 a step failed; 2 wrong option; 3 this machine cannot do it.
set -Eeuo pipefail
umask 022
PATH=$PATH:/usr/sbin:/sbin

HERE=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
readonly HERE
readonly EXPERIMENT=experiments/quickstart.yaml
# slirp4netns's addresses: its own, through which it resolves names, and that of the interface.
readonly NAME_SERVER=10.0.2.3
# The disk of the machine, libvirt's copy of the box, Vagrant's copy of it.
readonly WORK_MB=12000

release=bookworm
results=
driver=
work=
current= # the step being taken

usage() {
    cat <<TEXT
usage: sudo vagrant/prove.sh [--release NAME] [--results FOLDER]

Brings the virtual machine up in libvirt, from a box made by vagrant/build-box.sh (made now if it is missing), runs
install.sh, \`mnbed doctor\` and the quickstart in it, provisions it again, fetches the results and destroys it.
Everything but the box and the results is gone afterwards.

  --release NAME    bookworm (the default) or trixie
  --results FOLDER  where the run, the log and the times go (default: a new folder below the current one)
  --driver NAME     kvm or qemu (software emulation); default: kvm if this machine has it
  --help            this text
TEXT
}

say() { printf '%s\n' "==> $*"; }

give_up() { # message, remedy
    printf '%s\n' "prove.sh: $1" >&2
    [[ -z ${2:-} ]] || printf '%s\n' "  remedy: $2" >&2
    exit 3
}

refuse() { # message
    printf '%s\n' "prove.sh: $1" >&2
    usage >&2
    exit 2
}

read_arguments() {
    while (($#)); do
        case $1 in
            --release | --results | --driver) [[ $# -ge 2 && -n $2 ]] || refuse "$1 needs a value" ;;&
            --release) release=$2 ;;
            --results) results=$2 ;;
            --driver) driver=$2 ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) refuse "unknown option $1" ;;
        esac
        shift 2
    done
    [[ $release == bookworm || $release == trixie ]] || refuse "--release $release: one of bookworm trixie"
    [[ -z $driver || $driver == kvm || $driver == qemu ]] || refuse "--driver $driver: one of kvm qemu"
}

# --- what this machine must have ---

check_machine() {
    local program missing=()
    ((EUID == 0)) || give_up "namespaces and libvirt need root" "sudo vagrant/prove.sh"
    [[ $(uname -m) == x86_64 ]] || give_up "this proof is for x86_64; this machine is $(uname -m)"
    local -A package=(
        [vagrant]=vagrant [libvirtd]=libvirt-daemon-system [virsh]=libvirt-clients [qemu-system-x86_64]=qemu-system-x86
        [slirp4netns]=slirp4netns [rsync]=rsync [ssh]=openssh-client [dnsmasq]=dnsmasq-base
    )
    for program in "${!package[@]}"; do
        command -v "$program" >/dev/null || missing+=("${package[$program]}")
    done
    # The package libvirt-daemon alone does not make the user that QEMU's storage belongs to.
    id libvirt-qemu >/dev/null 2>&1 || missing+=(libvirt-daemon-system)
    vagrant plugin list 2>/dev/null | grep -q '^vagrant-libvirt ' || missing+=(vagrant-libvirt)
    ((${#missing[@]} == 0)) || give_up "not installed: ${missing[*]}" "sudo apt-get install ${missing[*]}"
    [[ -c /dev/net/tun ]] || give_up "/dev/net/tun, which slirp4netns needs, is not there" "sudo modprobe tun"
}

has_kvm() { # /dev/kvm alone says little: with PVM it is there without the processor's help, for special kernels only
    [[ -c /dev/kvm ]] && grep -qwE 'vmx|svm' /proc/cpuinfo
}

open_folders() {
    local folder=${TMPDIR:-/var/tmp} free
    [[ -n $driver ]] || { has_kvm && driver=kvm || driver=qemu; }
    [[ -n $results ]] || results=$PWD/vagrant-proof-$(date -u +%Y%m%d-%H%M%S)
    mkdir -p "$results"
    results=$(cd "$results" && pwd)
    free=$(df --output=avail -BM "$folder" | tail -n 1 | tr -dc 0-9)
    ((free >= WORK_MB)) || give_up "$folder has $free MB of free space; $WORK_MB are needed" "set TMPDIR to another folder"
    work=$(mktemp -d "$folder/mnbed-prove.XXXXXX")
    trap close_folders EXIT
}

close_folders() {
    local process
    for process in ${way_out:-} ${inside:-}; do
        # unshare, which waits for its child, ignores a gentler signal; its child dies with it.
        kill -KILL "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    rm -rf --one-file-system "$work"
    [[ -z ${SUDO_UID:-} ]] || chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$results"
}

make_box() {
    [[ ! -e $HERE/boxes/mnbed-$release-amd64-libvirt.box ]] || return 0
    "$HERE/build-box.sh" --release "$release" --arch amd64 --for libvirt
}

# --- outside: namespaces and the way out of them ---

prove() {
    say "libvirt's driver: $driver; results: $results"
    # Dies with this script, and with it, as the first process of its namespace, everything started in there.
    setpriv --pdeathsig KILL unshare --net --mount --propagation private "$HERE/prove.sh" --wait-for-network \
        "$work" "$results" "$release" "$driver" &
    inside=$!
    until [[ -e $work/in-namespace ]]; do
        kill -0 "$inside" 2>/dev/null || give_up "no network namespace can be made here"
        sleep 0.1
    done
    setpriv --pdeathsig KILL slirp4netns --configure --mtu=1500 --disable-host-loopback "$inside" tap0 \
        >"$work/slirp.log" 2>&1 &
    way_out=$!
    wait "$inside" || {
        inside=
        return 1
    }
    inside=
}

# --- inside ---

wait_for_network() { # work, results, release, driver
    touch "$1/in-namespace"
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        ip -4 address show dev tap0 2>/dev/null | grep -q inet && break
        sleep 0.1
    done
    ((tries < 100)) || give_up "slirp4netns makes no way out: $(tail -n 3 "$1/slirp.log")"
    ip link set lo up
    exec unshare --pid --fork --kill-child --mount-proc "$HERE/prove.sh" --inside "$@"
}

own_libvirt() { # libvirt with nothing of this machine's libvirt in sight
    local folder
    mount -t sysfs sysfs /sys
    mount -t tmpfs tmpfs /run
    for folder in /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt; do
        mkdir -p "$work$folder" "$folder"
        mount --bind "$work$folder" "$folder"
    done
    mkdir -p /run/lock /run/libvirt /var/lib/libvirt/images
    # QEMU starts unconfined: in these namespaces there is neither a security module to ask nor a tree of cgroups.
    cat >/etc/libvirt/qemu.conf <<'TEXT'
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
TEXT
    printf 'nameserver %s\n' "$NAME_SERVER" >"$work/resolv.conf"
    local resolver
    resolver=$(readlink -m /etc/resolv.conf)
    # It may have been in /run, and be hidden now.
    [[ -e $resolver ]] || { mkdir -p "$(dirname "$resolver")" && touch "$resolver"; }
    mount --bind "$work/resolv.conf" "$resolver"
    libvirtd --daemon >"$work/libvirtd.log" 2>&1
    virsh -c qemu:///system list >/dev/null
}

timed() { # name, command...: what it prints goes to the terminal and to a log of that name
    local name=$1 began=$SECONDS status=0
    shift
    current=$name
    say "$name"
    "$@" > >(tee "$results/$name.log") 2>&1 </dev/null || status=$?
    printf '%-18s %5d s  status %d\n' "$name" $((SECONDS - began)) "$status" | tee -a "$results/times.txt"
    ((status == 0)) || failed
}

failed() {
    trap - ERR
    printf '%s\n' "prove.sh: this step failed: ${current:-making the namespaces}" >&2
    printf '%s\n' "  remedy: see $results" >&2
    cp "$work"/*.log "$results/" 2>/dev/null || true
    exit 1
}

in_machine() { vagrant ssh --no-tty -c "$1"; } # a command line

fetch() { # the newest run, and what the machine knows about its kernel
    vagrant ssh-config >"$work/ssh.config" &&
        rsync -e "ssh -F $work/ssh.config" -a default:mnbed/runs "$results/" &&
        rsync -e "ssh -F $work/ssh.config" -a --ignore-missing-args default:/var/log/mnbed-install.log "$results/"
}

check_run() { # prints what the record needs; fails unless the run is complete
    python3 - "$results"/runs/*/summary.json <<'PYTHON'
import json, sys
summary = json.load(open(sys.argv[1]))
for name in ("status", "verdict", "reasons", "delay_backend", "dilation", "wall_s"):
    print(f"{name}: {summary[name]}")
print("final accuracy:", summary["accuracy"]["final_mean"])
sys.exit(summary["status"] != "completed" or len(sys.argv) != 2)
PYTHON
}

inside() { # work, results, release, driver
    work=$1 results=$2 release=$3 driver=$4
    # Paths of this process may lead to folders that are hidden now.
    cd "$HERE"
    own_libvirt
    export HOME=$work/home VAGRANT_HOME=$work/vagrant VAGRANT_CWD=$HERE VAGRANT_DOTFILE_PATH=$work/machine
    export VAGRANT_DEFAULT_PROVIDER=libvirt VAGRANT_CHECKPOINT_DISABLE=1 MNBED_VM_DRIVER=$driver
    unset MNBED_BOX MNBED_BOX_URL
    # By itself the Vagrantfile takes the box with bookworm if there are several.
    [[ $release == bookworm ]] || export MNBED_BOX_URL=$HERE/boxes/mnbed-$release-amd64-libvirt.box
    mkdir -p "$HOME"
    # Gone whatever happens: its processes with the namespace, its disks with the work folder.
    timed up vagrant --no-tty up
    # shellcheck disable=SC2016 # for the shell in the machine
    timed system in_machine 'uname -srm; . /etc/os-release; echo "$PRETTY_NAME"; nproc; systemd-detect-virt; df -h / | tail -1'
    # shellcheck disable=SC2016 # for the shell in the machine
    timed keys in_machine '! grep insecure ~/.ssh/authorized_keys && ls /etc/ssh/ssh_host_*_key && ! sudo grep -E "^(root|vagrant):[^*!:]" /etc/shadow'
    timed doctor in_machine 'sudo mnbed doctor'
    timed quickstart in_machine "cd mnbed && sudo mnbed run $EXPERIMENT"
    timed provision-again vagrant --no-tty provision
    timed fetch fetch
    timed check check_run
    timed destroy vagrant --no-tty destroy --force
    virsh -c qemu:///system list --all --name | grep -q . && failed
    say "proved; times:"
    cat "$results/times.txt"
}

case ${1:-} in
    --wait-for-network)
        shift
        wait_for_network "$@"
        ;;
    --inside)
        shift
        trap failed ERR
        inside "$@"
        ;;
    *)
        read_arguments "$@"
        check_machine
        make_box
        open_folders
        prove
        ;;
esac
