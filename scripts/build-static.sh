#!/usr/bin/env bash
# Builds the static binary and proves that it is one.
#
#   ./scripts/build-static.sh [--install] [--examples | --entrypoint] [TARGET]
#
# TARGET     a musl target; this machine's own when absent
# --install  installs what is missing where that needs no question (musl-tools, as root on Debian's kin)
# --examples builds the demonstration origin and the probe app too
# --entrypoint  builds the entrypoint alone (run, with a broker or without), by its own profile
#
# The binary is left in target/TARGET/release/agent-vault; the entrypoint alone in
# target/TARGET/entrypoint/agent-vault. Exit 3: this machine cannot build for musl, and
# what is missing has been said.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly CANNOT=3

say() { printf 'build-static: %s\n' "$*" >&2; }

cannot() {
    say "$1"
    say "to get it: $2"
    exit "$CANNOT"
}

install_musl_tools() {
    say "installing musl-tools, the C compiler for musl"
    { apt-get update && apt-get install -y --no-install-recommends musl-tools; } > /dev/null 2>&1 || true
}

need_rust_target() {
    if [ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ]; then
        return
    fi
    command -v rustup > /dev/null || cannot "the Rust target $1 is missing and there is no rustup to add it" \
        "install rustup, or your distribution's package of the Rust standard library for $1"
    say "adding the Rust target $1"
    rustup target add "$1" || cannot "the Rust target $1 could not be added" "rustup target add $1"
}

# SQLite and ring hold C and assembly: they want a compiler that knows musl's headers.
need_c_compiler() {
    local variable="CC_${1//-/_}"
    if [ -n "${!variable:-}" ] || command -v "${1%%-*}-linux-musl-gcc" > /dev/null || command -v musl-gcc > /dev/null; then
        return
    fi
    if [ "$2" = yes ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
        install_musl_tools
        command -v musl-gcc > /dev/null && return
    fi
    cannot "no C compiler for musl (musl-gcc) on the PATH" \
        "apt-get install musl-tools (Debian, Ubuntu), or set $variable to one"
}

check_static() {
    command -v readelf > /dev/null || cannot "readelf is missing, so the result cannot be checked" \
        "apt-get install binutils (Debian, Ubuntu)"
    if readelf --program-headers --wide "$1" | grep -q INTERP; then
        say "$1 wants a program interpreter: it is not static"
        exit 1
    fi
    if readelf --dynamic --wide "$1" | grep NEEDED >&2; then
        say "$1 wants the shared libraries above: it is not static"
        exit 1
    fi
}

main() {
    local install=no target='' profile=release
    local built=(--bin agent-vault)
    while [ $# -gt 0 ]; do
        case $1 in
            --install) install=yes ;;
            --examples) built+=(--example origin --example probe) ;;
            --entrypoint) profile=entrypoint && built+=(--no-default-features) ;;
            -*) say "unknown flag: $1" && exit 2 ;;
            *) target=$1 ;;
        esac
        shift
    done
    target=${target:-$(uname -m)-unknown-linux-musl}

    command -v cargo > /dev/null || cannot "cargo is missing" "install Rust with rustup"
    need_rust_target "$target"
    need_c_compiler "$target" "$install"
    # A crash names its place in the sources; where this machine keeps those of libraries is left out.
    local sources=${CARGO_HOME:-$HOME/.cargo}/registry/src/
    cargo build --locked --profile "$profile" --target "$target" "${built[@]}" \
        --config "build.rustflags=['--remap-path-prefix=$sources=']"

    local binary="${CARGO_TARGET_DIR:-target}/$target/$profile/agent-vault"
    check_static "$binary"
    say "$binary is static, $(wc -c < "$binary") bytes"
}

main "$@"
