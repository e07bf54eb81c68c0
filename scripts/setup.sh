#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that are missing for the given jobs (build, test, bench; by
# default build and test). Calls neither apt nor sudo where nothing is missing, and leaves no service
# running that it installed.
set -euo pipefail

# PACKAGE=PROOF: the package counts as there when the command, or the file (with a slash), exists.
build=(clang=clang llvm=llvm-strip make=make pkg-config=pkg-config libelf-dev=/usr/include/libelf.h
    zlib1g-dev=/usr/include/zlib.h libpcap-dev=/usr/include/pcap/pcap.h)
test=(nginx-light=nginx redis-server=redis-server redis-tools=redis-cli curl=curl strace=strace
    tshark=tshark tcpdump=tcpdump python3=python3 iproute2=ip nftables=nft zstd=zstd chromium=chromium nghttp2-client=h2load
    nghttp2-server=nghttpd nghttp2-proxy=nghttpx python3-grpcio=/usr/lib/python3/dist-packages/grpc/__init__.py
    postgresql=/usr/lib/postgresql postgresql-client=psql
    nats-server=nats-server python3-psycopg=/usr/lib/python3/dist-packages/psycopg/__init__.py)
bench=(wrk=wrk)

main() {
    if [ "${1-}" = --as-root ]; then
        shift
        install_as_root "$@"
        return
    fi
    local missing
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086 # one word per package
    install_packages $missing
}

missing_packages() {
    local job pair
    [ $# -gt 0 ] || set -- build test
    for job in "$@"; do
        declare -n pairs="$job"
        for pair in "${pairs[@]}"; do
            is_there "${pair#*=}" || echo "${pair%%=*}"
        done
    done
}

# Servers live in sbin directories, which are not in every user's PATH.
is_there() {
    case $1 in
    */*) [ -e "$1" ] ;;
    *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null ;;
    esac
}

install_packages() {
    command -v apt-get >/dev/null ||
        fail "missing: $*. This is no Debian or Ubuntu: install them with your package manager, then repeat."
    local root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "missing: $*. Install them as root, then repeat: apt-get install $*"
        root=(sudo)
    fi
    echo "setup: installing $*" >&2
    "${root[@]}" bash "$0" --as-root "$@"
}

install_as_root() {
    export DEBIAN_FRONTEND=noninteractive
    # Packages of servers ask this program whether they may start them; 101 means no. An
    # administrator's own one stays as it is.
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    # tshark asks whether other users may capture.
    if command -v debconf-set-selections >/dev/null; then
        echo 'wireshark-common wireshark-common/install-setuid boolean false' | debconf-set-selections
    fi
    apt-get update -q
    apt-get install -y -q --no-install-recommends "$@" </dev/null
    disable_services "$@"
}

# Without this, what was installed for tests would start with the next boot.
disable_services() {
    [ -d /run/systemd/system ] || return 0
    local package
    for package in "$@"; do
        case $package in
        nginx-light) systemctl disable --now nginx ;;
        redis-server) systemctl disable --now redis-server ;;
        nghttp2-proxy) systemctl disable --now nghttpx ;;
        nats-server) systemctl disable --now nats-server ;;
        postgresql) systemctl disable --now postgresql ;;
        esac
    done
}

fail() {
    echo "setup: $*" >&2
    exit 1
}

main "$@"
