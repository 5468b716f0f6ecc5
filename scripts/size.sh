#!/usr/bin/env bash
# Fails when a static binary is larger than its budget; shows where its bytes are.
#
#   scripts/size.sh [--table] [BINARY]
#
# BINARY   the static release, stripped; when absent, that of this machine where scripts/build-static.sh leaves
#          it, and the entrypoint alone if it was built
# --table  links the static release once more, with its symbols, and adds them up by crate
#
# The budgets are in scripts/size.budget. A change that needs more raises them there, in a commit that says
# what the bytes are for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly BUDGETS=scripts/size.budget
target="$(uname -m)-unknown-linux-musl"
target_dir=${CARGO_TARGET_DIR:-target}

# The number that stands behind a name.
budget() { awk -v name="$1" '$1 == name { print $2 }' "$BUDGETS"; }

check() {
    local name=$1 file=$2 size most
    size=$(wc -c < "$file")
    most=$(budget "$name")
    if [ "$size" -gt "$most" ]; then
        printf 'size: the %s binary has %d bytes, %d more than its budget of %d\n' \
            "$name" "$size" $((size - most)) "$most" >&2
        printf 'size: scripts/size.sh --table shows where they are; %s is where a budget is raised\n' "$BUDGETS" >&2
        return 1
    fi
    printf 'size: the %s binary has %d bytes of %d\n' "$name" "$size" "$most"
}

# Symbols by crate: the first word of a path, or who wrote the C.
by_crate() {
    nm --print-size --radix=d --demangle "$1" | awk '
        NF < 4 || $3 !~ /^[tTrRdDbBwWvV]$/ { next }
        {
            name = $4
            for (i = 5; i <= NF; i++) name = name " " $i
            # <a::B as c::D>::e belongs to a; so does <&a::B as …> and <[a::B] as …>.
            sub(/^[<&*\[( ]*(mut |const |dyn )*/, "", name)
            if (name ~ /^sqlite3|^(vdbe|pager|btree|fts|where|expr|wal|unix|pcache|json)[A-Z]/) crate = "sqlite (C)"
            else if (name ~ /^ring_core_|^(p256|p384|x25519|aes_|chacha20|gcm_|sha[0-9])/) crate = "ring (C, assembly)"
            else if (name ~ /^[a-z_0-9]+::/) { crate = name; sub(/::.*/, "", crate) }
            else crate = "musl, sqlite and others (C)"
            bytes[crate] += $2
            all += $2
        }
        END {
            for (crate in bytes) printf "%9d  %5.1f %%  %s\n", bytes[crate], bytes[crate] * 100 / all, crate
            printf "%9d  100.0 %%  in symbols; the rest of the file is text constants, unwinding and relocations\n", all
        }' | sort -rn
}

table() {
    local symbols="$target_dir/size"
    # A folder of its own: the next static release is not built anew because of this one.
    cargo build --locked --quiet --release --target "$target" --bin agent-vault --target-dir "$symbols" \
        --config profile.release.strip=false
    by_crate "$symbols/$target/release/agent-vault"
}

main() {
    local wants_table=no binary=''
    while [ $# -gt 0 ]; do
        case $1 in
            --table) wants_table=yes ;;
            -*) echo "size: unknown flag: $1" >&2 && exit 2 ;;
            *) binary=$1 ;;
        esac
        shift
    done
    [ "$wants_table" = no ] || table
    local small="$target_dir/$target/entrypoint/agent-vault" status=0
    if [ -z "$binary" ] && [ -f "$small" ]; then
        check entrypoint "$small" || status=$?
    fi
    binary=${binary:-$target_dir/$target/release/agent-vault}
    [ -f "$binary" ] || { echo "size: there is no $binary: build it with scripts/build-static.sh" >&2; exit 3; }
    check full "$binary" || status=$?
    return "$status"
}

main "$@"
