#!/usr/bin/env bash
# Makes Vagrant boxes with Debian from Debian's own packages, so that `vagrant up` needs no registry of boxes.
#
# A box is a file system made by mmdebstrap, a disk around it with a boot loader, and the files with which a provider
# describes a machine. The disk is written without mounting anything, so nothing is left behind if this is killed.
# Exit status: 0 done; 2 wrong option; 3 this machine cannot do it (the message says why and what to do).
set -Eeuo pipefail
umask 022
PATH=$PATH:/usr/sbin:/sbin

HERE=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
readonly HERE

readonly RELEASES="bookworm trixie"
readonly ARCHITECTURES="amd64 arm64"
readonly PROVIDERS="libvirt virtualbox qemu vmware"
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# The label by which boot loader and kernel find the root file system, whatever the provider calls the disk.
readonly LABEL=mnbed
readonly USER_NAME=vagrant # what Vagrant expects
# Vagrant's public key, whose private half everybody has: hashicorp/vagrant, keys/vagrant.pub. `vagrant up` replaces it by
# a pair of its own when it first gets in. Not the newer ed25519 one, too: Vagrant 2.3 would leave that where it is.
readonly VAGRANT_KEY='ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGEFHzD8+v1I2YJ6oXevct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9D8HfdOV0IAdx4O7PtixWKn5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0jMZEnDkbUvxhMmBYSdETk1rRgm+R4LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8tehUc9c9WhQ== vagrant insecure public key'
# An address of VirtualBox's range; Vagrant gives it to the first network card.
readonly VIRTUALBOX_MAC=0800276D6E62

# What the machine is made of, beside Debian's kernel with all drivers: that for clouds lacks VirtualBox's and VMware's.
readonly PACKAGES=(
    systemd-sysv systemd-resolved systemd-timesyncd dbus udev kmod initramfs-tools openssh-server sudo rsync
    ca-certificates iproute2 procps less
)
# Drivers of the disks that libvirt, QEMU, VirtualBox, VMware and Hyper-V offer. All others would be looked for in vain at
# every start, and under emulation it takes half an hour to collect them.
readonly START_MODULES=(
    ext4 virtio_pci virtio_mmio virtio_blk virtio_scsi sd_mod ahci ata_piix nvme mptspi mptsas vmw_pvscsi hv_storvsc
)
# The first partition begins here, in sectors; the boot loader of a BIOS lies before it.
readonly FIRST_SECTOR=2048
readonly EFI_MB=64
# A file system, the disk that holds it, and that disk once more in a provider's format.
readonly WORK_MB=4500
readonly OUTPUT_MB=700

release=bookworm
architecture=
providers=
output=$HERE/boxes
size_gb=20
mirror=http://deb.debian.org
disk=
replace=no
work=
current= # what is being done, in words
child=   # the process that does it, if it is to be ended with this one
exec 8>&2 # the terminal, for messages from where standard error goes to a log

usage() {
    cat <<TEXT
usage: sudo vagrant/build-box.sh [options]

Makes Vagrant boxes with Debian from Debian's packages, in minutes. \`vagrant up\` finds them in vagrant/boxes.

  --release NAME    bookworm (the default) or trixie
  --arch NAME       amd64 or arm64; default: this machine's. Another one than this machine's needs qemu-user-static.
  --for PROVIDERS   which boxes, separated by commas: libvirt, virtualbox, qemu, vmware
                    (default: libvirt,virtualbox for amd64; qemu,vmware for arm64)
  --output FOLDER   where to put them (default: vagrant/boxes)
  --size GB         size of the disk (20); it grows as it is filled
  --mirror URL      where Debian's folders debian and debian-security are (http://deb.debian.org)
  --disk FILE       put this raw disk into the boxes instead of making one; that needs no root
  --replace         write over boxes that exist
  --help            this text
TEXT
}

say() { printf '%s\n' "==> $*"; }

give_up() { # message, remedy
    printf '%s\n' "build-box.sh: $1" >&8
    [[ -z ${2:-} ]] || printf '%s\n' "  remedy: $2" >&8
    exit 3
}

refuse() { # message
    printf '%s\n' "build-box.sh: $1" >&2
    usage >&2
    exit 2
}

step() { # description, command...: one line on the terminal, the output in a log that is shown if it fails
    current=$1
    shift
    say "$current"
    "$@" >"$work/log" 2>&1 </dev/null
    current=
}

failed() { # line
    trap - ERR
    [[ -n $current ]] || give_up "line $1 failed unexpectedly"
    tail -n 30 "$work/log" >&8
    give_up "this step failed: $current" "mend what the lines above name, and run it again"
}

# --- options ---

value_of() { # option, number of arguments left, value
    [[ $2 -ge 2 && -n $3 ]] || refuse "$1 needs a value"
}

read_arguments() {
    while (($#)); do
        case $1 in
            --release | --arch | --for | --output | --size | --mirror | --disk) value_of "$1" $# "${2:-}" ;;&
            --release) release=$2 ;;
            --arch) architecture=$2 ;;
            --for) providers=${2//,/ } ;;
            --output) output=$2 ;;
            --size) size_gb=$2 ;;
            --mirror) mirror=${2%/} ;;
            --disk) disk=$2 ;;
            --replace)
                replace=yes
                shift
                continue
                ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) refuse "unknown option $1" ;;
        esac
        shift 2
    done
}

is_one_of() { # word, words
    [[ " $2 " == *" $1 "* ]]
}

own_architecture() {
    case $(uname -m) in
        x86_64) echo amd64 ;;
        aarch64 | arm64) echo arm64 ;;
        *) uname -m ;;
    esac
}

check_arguments() {
    local provider
    [[ -n $architecture ]] || architecture=$(own_architecture)
    is_one_of "$release" "$RELEASES" || refuse "--release $release: one of $RELEASES"
    is_one_of "$architecture" "$ARCHITECTURES" || refuse "--arch $architecture: one of $ARCHITECTURES"
    [[ $size_gb =~ ^[1-9][0-9]{0,3}$ && $size_gb -ge 4 ]] || refuse "--size $size_gb: a whole number of GB, at least 4"
    [[ $mirror =~ ^(https?|file):// ]] || refuse "--mirror $mirror: a URL that begins with http://, https:// or file://"
    if [[ -z $providers ]]; then
        [[ $architecture == amd64 ]] && providers="libvirt virtualbox" || providers="qemu vmware"
    fi
    for provider in $providers; do
        is_one_of "$provider" "$PROVIDERS" || refuse "--for $provider: one of $PROVIDERS"
        [[ $provider != virtualbox || $architecture == amd64 ]] ||
            refuse "--for virtualbox: only with --arch amd64; for arm64 there are libvirt, qemu and vmware"
    done
    [[ -z $disk || -f $disk ]] || refuse "--disk $disk: there is no such file"
}

# --- what this machine must have ---

box_file() { printf '%s' "$output/mnbed-$release-$architecture-$1.box"; } # provider

check_output() {
    local provider
    mkdir -p "$output" 2>/dev/null || give_up "cannot make the folder $output" "name another one with --output"
    [[ -w $output ]] || give_up "cannot write to $output" "name another folder with --output, or use sudo"
    [[ $replace == no ]] || return 0
    for provider in $providers; do
        [[ ! -e $(box_file "$provider") ]] || give_up "$(box_file "$provider") exists" "--replace, or another --output"
    done
}

package_of() { # program
    case $1 in
        qemu-img) echo qemu-utils ;;
        mke2fs) echo e2fsprogs ;;
        sfdisk) echo fdisk ;;
        mkfs.vfat) echo dosfstools ;;
        mcopy | mmd) echo mtools ;;
        *) echo "$1" ;;
    esac
}

check_programs() {
    local program missing=() needed=(qemu-img)
    if [[ -z $disk ]]; then
        needed+=(mmdebstrap mke2fs sfdisk)
        [[ $architecture == amd64 ]] || needed+=(mkfs.vfat mcopy mmd)
        [[ $architecture == "$(own_architecture)" ]] || needed+=(arch-test)
    fi
    for program in "${needed[@]}"; do
        command -v "$program" >/dev/null || missing+=("$(package_of "$program")")
    done
    ((${#missing[@]} == 0)) || give_up "not installed: ${missing[*]}" "sudo apt-get install ${missing[*]}"
}

check_machine() {
    [[ -z $disk ]] || return 0
    ((EUID == 0)) || give_up "making a file system with other users' files needs root" "sudo vagrant/build-box.sh"
    [[ -e $KEYRING ]] || give_up "$KEYRING, which Debian's packages are checked with, is not there" \
        "sudo apt-get install debian-archive-keyring"
    [[ $architecture == "$(own_architecture)" ]] || arch-test "$architecture" >/dev/null 2>&1 ||
        give_up "this machine cannot run programs for $architecture" \
            "sudo apt-get install qemu-user-static binfmt-support, or build on a machine of that kind"
}

check_space() { # folder, MB
    local free
    free=$(df --output=avail -BM "$1" | tail -n 1 | tr -dc 0-9)
    ((free >= $2)) || give_up "$1 has $free MB of free space; $2 are needed" \
        "free some, or name another folder (TMPDIR for the work, --output for the boxes)"
}

open_work_folder() {
    local folder=${TMPDIR:-/var/tmp} mb=$WORK_MB
    # A disk that is given is copied at most twice.
    [[ -z $disk ]] || mb=$(($(du -BM "$disk" | tr -dc '0-9\t' | cut -f1) * 2 + 1))
    [[ -d $folder ]] || give_up "TMPDIR=$folder is not a folder"
    check_space "$folder" "$mb"
    [[ -n $disk ]] || check_space "$output" "$OUTPUT_MB"
    work=$(mktemp -d "$folder/mnbed-box.XXXXXX") || give_up "cannot write to $folder" "set TMPDIR to another folder"
    trap close_work_folder EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

close_work_folder() {
    if [[ -n $child ]]; then
        kill -KILL "$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    fi
    rm -rf --one-file-system "$work"
}

# --- the file system ---

sources() {
    cat <<TEXT
deb [signed-by=$KEYRING] $mirror/debian $release main
deb [signed-by=$KEYRING] $mirror/debian $release-updates main
deb [signed-by=$KEYRING] $mirror/debian-security $release-security main
TEXT
}

make_tree() {
    local boot_loader=grub-pc-bin include
    [[ $architecture == amd64 ]] || boot_loader=grub-efi-arm64-bin
    include=$(IFS=, && echo "${PACKAGES[*]},linux-image-$architecture,grub-common,$boot_loader")
    sources >"$work/sources"
    printf '%s\n' "${START_MODULES[@]}" >"$work/start-modules"
    # shellcheck disable=SC2016 # for the shells that mmdebstrap starts
    local folders='mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"'
    # shellcheck disable=SC2016
    local list='echo MODULES=list >"$1/etc/initramfs-tools/conf.d/mnbed"'
    # In namespaces of its own: what mmdebstrap mounts and starts ends with it, and it ends with this script.
    unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
        mmdebstrap --mode=root --variant=minbase --architectures="$architecture" --include="$include" \
        --aptopt='Acquire::Retries "3"' \
        --essential-hook="$folders" --essential-hook="$list" \
        --essential-hook="copy-in '$work/start-modules' /usr/share/initramfs-tools/modules.d" \
        "" "$work/tree" "$work/sources" &
    child=$!
    wait "$child"
    child=
}

put() { # path in the machine, mode; the content is read from standard input
    mkdir -p "$(dirname "$work/tree$1")"
    cat >"$work/tree$1"
    chmod "$2" "$work/tree$1"
}

inside() { chroot "$work/tree" "$@"; }

customize_tree() {
    inside useradd --create-home --shell /bin/bash "$USER_NAME"
    # No password opens an account; keys do.
    inside usermod --password '*' "$USER_NAME"
    inside usermod --password '*' root
    put "/home/$USER_NAME/.ssh/authorized_keys" 600 <<<"$VAGRANT_KEY"
    chmod 700 "$work/tree/home/$USER_NAME/.ssh"
    inside chown -R "$USER_NAME:$USER_NAME" "/home/$USER_NAME/.ssh"
    put "/etc/sudoers.d/$USER_NAME" 440 <<<"$USER_NAME ALL=(ALL) NOPASSWD: ALL"
    put /etc/ssh/sshd_config.d/mnbed.conf 644 <<<$'UseDNS no\nPasswordAuthentication no'
    write_host_keys_unit
    write_network
    put /etc/fstab 644 <<<"LABEL=$LABEL / ext4 defaults,errors=remount-ro 0 1"
    put /etc/default/locale 644 <<<"LANG=C.UTF-8"
    put /etc/machine-id 444 </dev/null
    write_sources
    rm -rf "$work"/tree/var/cache/apt/*.bin "$work"/tree/var/lib/apt/lists/*
    rm -f "$work"/tree/var/lib/dbus/machine-id "$work"/tree/var/lib/systemd/random-seed
}

write_host_keys_unit() { # every machine gets keys of its own when it first starts
    rm -f "$work"/tree/etc/ssh/ssh_host_*
    put /etc/systemd/system/ssh-host-keys.service 644 <<'TEXT'
[Unit]
Description=Keys of this machine for ssh, made when it first starts
Before=ssh.service
ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
TEXT
    inside systemctl enable ssh-host-keys.service
}

write_network() {
    put /etc/hostname 644 <<<mnbed
    put /etc/hosts 644 <<<$'127.0.0.1 localhost\n127.0.1.1 mnbed\n::1 localhost ip6-localhost ip6-loopback'
    # By name: an emulated network's interfaces (h1-eth0) must be left alone.
    put /etc/systemd/network/80-dhcp.network 644 <<<$'[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n\n[DHCPv4]\nClientIdentifier=mac'
    inside systemctl enable systemd-networkd.service systemd-resolved.service systemd-timesyncd.service
    ln -sfn ../run/systemd/resolve/stub-resolv.conf "$work/tree/etc/resolv.conf"
}

write_sources() { # the mirror that built the box need not be there where it runs, if it is a folder
    [[ $mirror != file://* ]] || mirror=http://deb.debian.org
    rm -f "$work"/tree/etc/apt/sources.list "$work"/tree/etc/apt/sources.list.d/*
    sources | put /etc/apt/sources.list 644
}

# --- the disk ---

write_boot_loader() {
    # Debian keeps the links /vmlinuz and /initrd.img on its newest kernel, so nothing has to be written anew later.
    local console=ttyS0,115200
    [[ $architecture == amd64 ]] || console=ttyAMA0
    put /boot/grub/grub.cfg 644 <<TEXT
search --no-floppy --label $LABEL --set=root
linux /vmlinuz root=LABEL=$LABEL ro console=tty0 console=$console
initrd /initrd.img
boot
TEXT
    put /boot/grub/load.cfg 644 <<TEXT
search --no-floppy --label $LABEL --set=root
set prefix=(\$root)/boot/grub
configfile /boot/grub/grub.cfg
TEXT
    local common=(ext2 search search_label linux normal configfile boot test echo)
    if [[ $architecture == amd64 ]]; then
        inside grub-mkimage -O i386-pc -o /boot/grub/core.img -p /boot/grub -c /boot/grub/load.cfg \
            biosdisk part_msdos "${common[@]}"
    else
        inside grub-mkimage -O arm64-efi -o /boot/grub/bootaa64.efi -p /boot/grub -c /boot/grub/load.cfg \
            part_gpt fat "${common[@]}"
    fi
}

make_disk() {
    truncate -s "${size_gb}G" "$work/disk"
    if [[ $architecture == amd64 ]]; then
        sfdisk -q "$work/disk" <<<"label: dos
start=$FIRST_SECTOR, type=83, bootable"
        write_bios_boot_loader
        write_file_system "$FIRST_SECTOR" 0
    else
        sfdisk -q "$work/disk" <<<"label: gpt
start=$FIRST_SECTOR, size=${EFI_MB}MiB, type=U
type=L"
        write_efi_partition
        # The last MB holds the second copy of the table.
        write_file_system $((FIRST_SECTOR + EFI_MB * 2048)) 1
    fi
    rm -rf --one-file-system "$work/tree"
}

write_bios_boot_loader() { # boot.img loads sector 1 and its successors, unless somebody tells it otherwise
    local core=$work/tree/boot/grub/core.img
    (($(stat -c %s "$core") <= (FIRST_SECTOR - 1) * 512)) || give_up "the boot loader is too long"
    dd if="$work/tree/usr/lib/grub/i386-pc/boot.img" of="$work/disk" bs=440 count=1 conv=notrunc status=none
    dd if="$core" of="$work/disk" bs=512 seek=1 conv=notrunc status=none
}

write_efi_partition() {
    truncate -s "${EFI_MB}M" "$work/efi"
    mkfs.vfat -n MNBED-EFI "$work/efi" >/dev/null
    mmd -i "$work/efi" ::/EFI ::/EFI/BOOT
    mcopy -i "$work/efi" "$work/tree/boot/grub/bootaa64.efi" ::/EFI/BOOT/BOOTAA64.EFI
    dd if="$work/efi" of="$work/disk" bs=512 seek="$FIRST_SECTOR" conv=notrunc,sparse status=none
    rm "$work/efi"
}

write_file_system() { # first sector, MB to leave free at the end
    # Its features are named because newer ones, defaults on newer systems, are unknown to GRUB 2.06.
    local features=has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file
    mke2fs -q -t ext4 -L "$LABEL" -d "$work/tree" -O "none,$features,huge_file,dir_nlink,extra_isize,metadata_csum" \
        -E "offset=$(($1 * 512)),root_owner=0:0" "$work/disk" "$((size_gb * 1048576 - $1 / 2 - $2 * 1024))k"
}

# --- the boxes ---

pack() { # provider: its disk, what describes the machine, and Vagrant's metadata.json, in one archive
    local folder=$work/$1 file
    file=$(box_file "$1")
    mkdir "$folder"
    "describe_for_$1" "$folder"
    # Under another name until it is complete.
    tar -C "$folder" -c . | gzip >"$file.partial" || give_up "cannot write $file" "free some space in $output"
    mv "$file.partial" "$file"
    [[ -z ${SUDO_UID:-} ]] || chown "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$file" "$output"
    rm -rf "$folder"
    say "$file: $(du -BM "$file" | cut -f1)B"
}

convert() { # format, file, options of the format
    qemu-img convert -f raw -O "$1" ${3:+-o "$3"} "$work/disk" "$2" || give_up "qemu-img cannot convert the disk to $1"
}

disk_bytes() { stat -L -c %s "$work/disk"; }

metadata() { # folder, provider, further members
    printf '{"provider": "%s", "architecture": "%s"%s}\n' "$2" "$architecture" "${3:-}" >"$1/metadata.json"
}

describe_for_libvirt() { # folder, provider
    convert qcow2 "$1/box.img"
    metadata "$1" "${2:-libvirt}" ", \"format\": \"qcow2\", \"virtual_size\": $((($(disk_bytes) + 1073741823) / 1073741824))"
    printf 'Vagrant.configure("2") do |config|\nend\n' >"$1/Vagrantfile"
}

# The plugin vagrant-qemu reads the same files, under its own name.
describe_for_qemu() { describe_for_libvirt "$1" qemu; }

describe_for_virtualbox() { # folder
    convert vmdk "$1/box-disk001.vmdk" subformat=streamOptimized
    metadata "$1" virtualbox
    printf 'Vagrant.configure("2") do |config|\n  config.vm.base_mac = "%s"\nend\n' "$VIRTUALBOX_MAC" >"$1/Vagrantfile"
    ovf >"$1/box.ovf"
}

describe_for_vmware() { # folder
    convert vmdk "$1/disk.vmdk" subformat=monolithicSparse,adapter_type=lsilogic
    metadata "$1" vmware_desktop
    printf 'Vagrant.configure("2") do |config|\nend\n' >"$1/Vagrantfile"
    vmx >"$1/mnbed.vmx"
}

ovf() { # DMTF's DSP0243; numbers of the resource types: 3 processor, 4 memory, 10 network, 17 disk, 20 SATA
    cat <<TEXT
<?xml version="1.0"?>
<Envelope ovf:version="1.0" xml:lang="en-US" xmlns="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
  xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
    <File ovf:href="box-disk001.vmdk" ovf:id="file1"/>
  </References>
  <DiskSection>
    <Info>Disks</Info>
    <Disk ovf:capacity="$(disk_bytes)" ovf:diskId="disk1" ovf:fileRef="file1"
      ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="NAT">
      <Description>The way out</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="mnbed-$release">
    <Info>Debian $release, made by vagrant/build-box.sh</Info>
    <OperatingSystemSection ovf:id="96">
      <Info>The system in it</Info>
      <Description>Debian_64</Description>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>The machine</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>mnbed-$release</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>virtualbox-2.2</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:ElementName>1 processor</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>1</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits>
        <rasd:ElementName>2048 MB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>2048</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:ElementName>SATA controller</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>AHCI</rasd:ResourceSubType>
        <rasd:ResourceType>20</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:ElementName>disk1</rasd:ElementName>
        <rasd:HostResource>/disk/disk1</rasd:HostResource>
        <rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
        <rasd:Connection>NAT</rasd:Connection>
        <rasd:ElementName>network card</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>E1000</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType>
      </Item>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
TEXT
}

vmx() {
    local guest=debian12-64 firmware=bios card=e1000
    [[ $architecture == amd64 ]] || { guest=arm-debian12-64 firmware=efi card=vmxnet3; }
    cat <<TEXT
.encoding = "UTF-8"
config.version = "8"
virtualHW.version = "20"
displayName = "mnbed"
guestOS = "$guest"
firmware = "$firmware"
numvcpus = "2"
memsize = "4096"
pciBridge0.present = "TRUE"
pciBridge4.present = "TRUE"
pciBridge4.virtualDev = "pcieRootPort"
pciBridge4.functions = "8"
sata0.present = "TRUE"
sata0:0.present = "TRUE"
sata0:0.fileName = "disk.vmdk"
ethernet0.present = "TRUE"
ethernet0.connectionType = "nat"
ethernet0.virtualDev = "$card"
ethernet0.addressType = "generated"
usb_xhci.present = "TRUE"
TEXT
}

main() {
    local provider
    read_arguments "$@"
    check_arguments
    check_output
    check_programs
    check_machine
    open_work_folder
    if [[ -n $disk ]]; then
        ln -s "$(readlink -f "$disk")" "$work/disk"
    else
        step "installing Debian $release for $architecture (minutes)" make_tree
        step "the user $USER_NAME, its keys, the network" customize_tree
        step "the boot loader" write_boot_loader
        step "the disk, $size_gb GB" make_disk
    fi
    for provider in $providers; do
        pack "$provider"
    done
    say "next: cd vagrant && vagrant up"
    say "if Vagrant has an earlier one: vagrant box remove mnbed-$release-$architecture"
}

trap 'failed $LINENO' ERR
main "$@"
