#!/usr/bin/env bash
# Sets mnbed up on Debian 12/13 and Ubuntu 22.04/24.04: system packages, .venv beside this file, /usr/local/bin/mnbed.
#
# Safe to repeat: what is there already is left alone, and a set-up that was interrupted is repaired.
# Exit status: 0 done; 2 unknown option; 3 this machine cannot do it (the message says why and what to do).
set -Eeuo pipefail
umask 022 # agents drop root to the invoking user, who must be able to read what is installed here

# The one place that pins the pair: torchvision's release notes name the torch each version belongs to.
readonly TORCH_VERSION=2.13.0
readonly TORCHVISION_VERSION=0.28.0
# PyTorch's own index has builds without CUDA (about 200 MB instead of 3 GB).
readonly TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu

readonly RUN_PACKAGES=(
    mininet iproute2 bridge-utils iptables iperf3 iperf ethtool socat iputils-ping procps kmod
    python3 python3-venv sudo ca-certificates
)
# user-mode-linux: a guest kernel with netem and openvswitch, for the network tests where this kernel has none. Debian
# has it for x86 only; elsewhere these tests are skipped.
readonly DEV_PACKAGES=(user-mode-linux openvswitch-switch shellcheck)

readonly SYSTEM_PYTHON=/usr/bin/python3 # the apt package of Mininet belongs to this one
readonly COMMAND_LINK=/usr/local/bin/mnbed
readonly SHARE=/usr/local/share
HOME_FOLDER=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
readonly HOME_FOLDER
readonly VENV=$HOME_FOLDER/.venv
readonly STAMP=$VENV/mnbed-installed

dev=no
force=no
newest=no
log=

usage() {
    cat <<TEXT
usage: sudo ./install.sh [--dev] [--newest] [--force]

Installs what mnbed needs: system packages through apt, a Python environment in .venv, the command mnbed.
It may be run again at any time; when nothing changed that takes seconds.

  --dev     also the test tools and user-mode-linux, which the tests need
  --newest  the newest Python packages that pyproject.toml allows, instead of those in requirements.lock
  --force   try on a system other than Debian 12/13 and Ubuntu 22.04/24.04
  --help    this text
TEXT
}

say() { printf '%s\n' "==> $*"; }

give_up() { # message, remedy
    printf '%s\n' "install.sh: $1" >&2
    [[ -z ${2:-} ]] || printf '%s\n' "  remedy: $2" >&2
    exit 3
}

step() { # description, command...: one line on the terminal, the output in the log
    local description=$1
    shift
    say "$description"
    if ! "$@" >>"$log" 2>&1 </dev/null; then
        printf '%s\n' "--- the last lines of $log:" >&2
        tail -n 20 "$log" >&2
        give_up "this step failed: $description" "see $log, mend what it names, run install.sh again"
    fi
}

read_arguments() {
    while (($#)); do
        case $1 in
            --dev) dev=yes ;;
            --force) force=yes ;;
            --newest) newest=yes ;;
            -h | --help)
                usage
                exit 0
                ;;
            *)
                printf '%s\n' "install.sh: unknown option $1" >&2
                usage >&2
                exit 2
                ;;
        esac
        shift
    done
}

check_system() {
    local system
    # shellcheck source=/dev/null
    system=$(. /etc/os-release 2>/dev/null && printf '%s %s' "${ID:-unknown}" "${VERSION_ID:-}") || system=unknown
    case $system in
        "debian 12" | "debian 13" | "ubuntu 22.04" | "ubuntu 24.04") ;;
        *)
            [[ $force == yes ]] || give_up "this system is '$system'; Debian 12/13 and Ubuntu 22.04/24.04 are supported" \
                "use one of them (vagrant/ has a ready virtual machine), or try with ./install.sh --force"
            say "'$system' is not a supported system; trying because of --force"
            ;;
    esac
    command -v apt-get >/dev/null || give_up "apt-get is not there" "use Debian or Ubuntu"
    ((EUID == 0)) || give_up "installing needs root" "sudo ./install.sh $*"
}

check_command_link() { # before the long part, and never over somebody else's file
    [[ -e $COMMAND_LINK || -L $COMMAND_LINK ]] || return 0
    if [[ ! -L $COMMAND_LINK || $(readlink "$COMMAND_LINK") != */.venv/bin/mnbed ]]; then
        give_up "$COMMAND_LINK exists and is not from mnbed" "move it away, then run install.sh again"
    fi
}

open_log() { # and let nobody else install meanwhile
    log=/var/log/mnbed-install.log
    # Held by pip too, should this script be killed alone: two of them in one .venv would spoil it.
    exec 9>/run/lock/mnbed-install.lock
    if ! flock --nonblock 9; then
        say "waiting for another install.sh to end"
        flock --timeout 900 9 || give_up "another install.sh, or a pip it started, has been running for 15 minutes"
    fi
    : >"$log" || give_up "cannot write $log"
}

# --- system packages ---

is_installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

which_can_be_had() { # those of the named packages that apt has a source for, one per line
    LC_ALL=C apt-cache policy "$@" 2>/dev/null |
        awk '/^[^ ]/ { name = $1; sub(":$", "", name) } $1 == "Candidate:" && $2 != "(none)" { print name }'
}

kernel_has_netem() { # in a network namespace that is gone right after
    unshare --net sh -c 'ip link set lo up && tc qdisc add dev lo root netem delay 1ms' >/dev/null 2>&1
}

apt() { DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -y "$@" 9>&-; }

needs_uml() { ! kernel_has_netem && [[ $(dpkg --print-architecture) == amd64 ]]; }

# One broken third-party source must not stop the rest: whether the packages can be had is seen right after.
refresh_package_lists() { apt update || echo "apt-get update failed; going on with the lists that are there"; }

install_packages() {
    local package missing=()
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    if ((${#missing[@]} == 0)); then
        say "system packages: all $# installed"
        return
    fi
    step "refreshing the package lists" refresh_package_lists
    local wanted=() available
    available=$(which_can_be_had "${missing[@]}" || true)
    for package in "${missing[@]}"; do
        if grep -qx "$package" <<<"$available"; then
            wanted+=("$package")
        elif [[ $package == shellcheck ]] || { [[ $package == user-mode-linux ]] && ! needs_uml; }; then
            say "not available here, and not needed on this machine: $package"
        else
            give_up "the package $package cannot be had" \
                "enable the source that has it (Debian: main; Ubuntu: universe) and check the network; apt's words: $log"
        fi
    done
    ((${#wanted[@]})) || return 0
    # Without what packages recommend: Mininet would pull in Open vSwitch and start its services.
    step "installing: ${wanted[*]}" apt install --no-install-recommends "${wanted[@]}"
}

# --- the Python environment ---

# What an environment cannot outlive: its place, its interpreter. The rest is brought up to date in place.
environment_base() { printf '%s %s' "$VENV" "$("$SYSTEM_PYTHON" -c 'import sys; print(sys.version.split()[0])')"; }

wanted_contents() {
    (cd "$HOME_FOLDER" && sha256sum pyproject.toml setup.py install.sh ./*.lock | sha256sum | cut -c1-64)
}

stamp_line() { sed -n "$1p" "$STAMP" 2>/dev/null || true; }

install_environment() {
    local wanted extras=''
    # An environment once made with --dev keeps its test tools.
    [[ $dev == no && $(stamp_line 3) != "[dev]" ]] || extras='[dev]'
    wanted=$(printf '%s\n' "$(environment_base)" "$(wanted_contents)" "$extras" "newest: $newest")
    if [[ -x $VENV/bin/python && -x $VENV/bin/mnbed && $(cat "$STAMP" 2>/dev/null) == "$wanted" ]]; then
        say "Python environment: up to date"
        return
    fi
    local fresh=()
    if [[ ! -x $VENV/bin/python || $(stamp_line 1) != "$(environment_base)" ]]; then
        [[ ! -e $VENV && ! -L $VENV ]] || say "replacing $VENV: it is unfinished, or made elsewhere or for another Python"
        rm -rf "$VENV"
        step "making $VENV from $SYSTEM_PYTHON" make_environment
        # Nothing but Mininet is to come from the system: compiled apt packages next to newer ones break.
        fresh=(--ignore-installed)
    fi
    rm -f "$STAMP" # from here to the end it is unfinished
    install_python_packages "$extras" ${fresh[@]+"${fresh[@]}"}
    printf '%s\n' "$wanted" >"$STAMP"
}

make_environment() {
    # Some Pythons put their own setuptools there; what is installed next to it would leave traces of it.
    "$SYSTEM_PYTHON" -m venv --system-site-packages "$VENV" && "$VENV/bin/python" -m pip uninstall --yes setuptools
}

install_python_packages() { # our own extras, options for pip...
    local extras=$1 index=() lock=requirements.lock
    shift
    [[ -z $extras ]] || lock=requirements-dev.lock
    if timeout 5 "$SYSTEM_PYTHON" -c "import urllib.request as u; u.urlopen('$TORCH_CPU_INDEX/torch/')" 2>/dev/null; then
        index=(--extra-index-url "$TORCH_CPU_INDEX")
    else
        say "$TORCH_CPU_INDEX does not answer: taking torch from where pip is configured to look"
    fi
    local pip=("$VENV/bin/python" -m pip install --no-input --disable-pip-version-check)
    if [[ $newest == yes ]]; then
        step "installing torch $TORCH_VERSION, mnbed and the newest of what it needs (minutes)" "${pip[@]}" "$@" \
            --upgrade --upgrade-strategy eager ${index[@]+"${index[@]}"} "torch==$TORCH_VERSION" --editable "$HOME_FOLDER$extras"
    else
        step "installing the Python packages of $lock" "${pip[@]}" "$@" --require-hashes --requirement "$HOME_FOLDER/$lock"
        # The lock has what the CPU build needs; builds with CUDA bring more, each in the version that they name.
        step "installing torch $TORCH_VERSION (minutes)" "${pip[@]}" ${index[@]+"${index[@]}"} "torch==$TORCH_VERSION"
        # With the lock's setuptools rather than the newest of the day.
        step "installing mnbed" "${pip[@]}" --no-deps --no-build-isolation --editable "$HOME_FOLDER$extras"
    fi
    # Its requirement of torch names one exact build; the pair above is the right one whatever its build is called.
    step "installing torchvision $TORCHVISION_VERSION" \
        "${pip[@]}" ${index[@]+"${index[@]}"} --no-deps "torchvision==$TORCHVISION_VERSION"
}

link_command() {
    [[ $(readlink "$COMMAND_LINK" 2>/dev/null) == "$VENV/bin/mnbed" ]] && return
    mkdir -p "$(dirname "$COMMAND_LINK")"
    say "linking $COMMAND_LINK -> $VENV/bin/mnbed"
    ln -sfn "$VENV/bin/mnbed" "$COMMAND_LINK"
}

install_shell_files() { # the manual and what completes command lines, for all users
    step "installing the manual and completion for bash, zsh and fish" write_shell_files
}

write_shell_files() {
    put_file "$SHARE/man/man1/mnbed.1" "$VENV/bin/python" "$HOME_FOLDER/docs/make_manual.py" &&
        put_file "$SHARE/bash-completion/completions/mnbed" completion_script bash &&
        put_file "$SHARE/zsh/site-functions/_mnbed" completion_script zsh &&
        put_file /etc/fish/completions/mnbed.fish completion_script fish # below /usr/local fish looks in desktops only
}

completion_script() { # shell
    # zsh wants its mark on the first line; and it loads the file on the first press of the key, so the function that is
    # then defined must also answer.
    # shellcheck disable=SC2016 # these are for zsh to expand
    _MNBED_COMPLETE=source_$1 "$VENV/bin/mnbed" | sed -e '/./,$!d' \
        -e 's/^compdef \(_[a-z_]*\) mnbed$/if [[ $zsh_eval_context[-1] == loadautofunc ]]; then \1 "$@"; else &; fi/'
}

put_file() { # path, the command that prints its content
    local file=$1 new
    shift
    new=$(mktemp) && "$@" >"$new" && install -D -m 644 "$new" "$file" && rm "$new"
}

check_result() {
    local found
    mnexec -v >>"$log" 2>&1 || give_up "mnexec, Mininet's helper, does not run" "apt-get install --reinstall mininet"
    if ! found=$("$VENV/bin/python" - 2>>"$log" <<'PYTHON'
import mininet.net, torch
build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
print(f"torch {torch.__version__} ({build}), Mininet {mininet.net.VERSION}")
PYTHON
    ); then
        rm -f "$STAMP"
        tail -n 20 "$log" >&2
        give_up "torch or Mininet cannot be imported" "run install.sh again: it makes a new environment now"
    fi
    say "ready: $found"
    [[ $found != *CUDA* ]] || say "this torch has CUDA code; mnbed uses the CPU only, so it works and merely takes more room"
}

main() {
    read_arguments "$@"
    check_system "$@"
    check_command_link
    open_log
    if [[ $dev == yes ]]; then
        install_packages "${RUN_PACKAGES[@]}" "${DEV_PACKAGES[@]}"
    else
        install_packages "${RUN_PACKAGES[@]}"
    fi
    install_environment
    link_command
    install_shell_files
    check_result
    if [[ $dev == yes ]]; then
        say "next: sudo .venv/bin/pytest"
    else
        say "next: sudo mnbed run experiments/cifar_stragglers.yaml"
    fi
}

trap 'give_up "line $LINENO failed unexpectedly" "see ${log:-the lines above}, and run install.sh again"' ERR
main "$@"
