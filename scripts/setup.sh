#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that are missing for the given jobs (build, test, bench; by
# default build and test), and what the tests need of Python, in target/python. Calls neither apt nor sudo
# where nothing is missing, and leaves no service running that it installed.
set -euo pipefail

# PACKAGE=PROOF: the package counts as there when the command, or the file (with a slash), exists.
build=(clang=clang llvm=llvm-strip make=make pkg-config=pkg-config libelf-dev=/usr/include/libelf.h
    zlib1g-dev=/usr/include/zlib.h libpcap-dev=/usr/include/pcap/pcap.h)
test=(nginx-light=nginx openssl=openssl redis-server=redis-server redis-tools=redis-cli curl=curl strace=strace
    tshark=tshark tcpdump=tcpdump python3=python3 iproute2=ip zstd=zstd chromium=chromium nghttp2-client=h2load
    nftables=nft nghttp2-server=nghttpd nghttp2-proxy=nghttpx python3-grpcio=/usr/lib/python3/dist-packages/grpc/__init__.py
    postgresql=/usr/lib/postgresql postgresql-client=psql
    mariadb-server=mariadbd mariadb-client=mariadb libmariadb-dev=/usr/include/mariadb/mysql.h
    python3-pymysql=/usr/lib/python3/dist-packages/pymysql/__init__.py nats-server=nats-server
    python3-psycopg=/usr/lib/python3/dist-packages/psycopg/__init__.py
    rabbitmq-server=/usr/lib/rabbitmq/bin/rabbitmq-server
    python3-pika=/usr/lib/python3/dist-packages/pika/__init__.py kcat=kcat bind9=named bind9-dnsutils=dig
    mosquitto=mosquitto mosquitto-clients=mosquitto_pub
    python3-paho-mqtt=/usr/lib/python3/dist-packages/paho/__init__.py memcached=memcached)
bench=(wrk=wrk)

# Python packages of the tests, from PyPI; in a folder of their own, since distributions keep theirs to themselves.
python_packages=(pymongo==4.20.1 secantusdb==0.7.0b3 pymemcache==4.0.0 websockets==17.4)
python_folder="$(cd "$(dirname "$0")/.." && pwd)/target/python"

main() {
    if [ "${1-}" = --as-root ]; then
        shift
        install_as_root "$@"
        return
    fi
    local missing
    missing=$(missing_packages "$@")
    # shellcheck disable=SC2086 # one word per package
    [ -z "$missing" ] || install_packages $missing
    case " ${*:-test} " in
    *" test "*) install_python ;;
    esac
}

# Installs what is missing of the tests' Python packages.
install_python() {
    local package missing=()
    for package in "${python_packages[@]}"; do
        compgen -G "$python_folder/lib/python3*/site-packages/${package/==/-}.dist-info" >/dev/null || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "setup: installing ${missing[*]} from PyPI" >&2
    # Debian and Ubuntu leave this part of Python out.
    python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
    [ -x "$python_folder/bin/pip" ] || python3 -m venv "$python_folder"
    "$python_folder/bin/pip" install --quiet --disable-pip-version-check "${missing[@]}"
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
        mosquitto) systemctl disable --now mosquitto ;;
        rabbitmq-server) systemctl disable --now rabbitmq-server epmd.socket epmd ;;
        bind9) systemctl disable --now named ;;
        memcached) systemctl disable --now memcached ;;
        postgresql) systemctl disable --now postgresql ;;
        mariadb-server) systemctl disable --now mariadb ;;
        esac
    done
}

fail() {
    echo "setup: $*" >&2
    exit 1
}

main "$@"
