#!/usr/bin/env bash
# Runs each fuzz target for a while; fails if one finds something. Installs nothing.
#
#   scripts/fuzz.sh [SECONDS] [TARGET...]     20 seconds of every target
#
# Exit status: 0 nothing found, 1 something found or not built, 3 a tool is missing.
# What is learned on the way stays in fuzz/corpus, what was found in fuzz/artifacts; both are not committed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-20}
[ "$#" = 0 ] || shift
case $seconds in
    '' | *[!0-9]*)
        echo "usage: scripts/fuzz.sh [SECONDS] [TARGET...]" >&2
        exit 2
        ;;
esac

missing() {
    echo "missing: $1" >&2
    exit 3
}
# The fuzzer's instrumentation is behind a flag that only a nightly compiler takes.
cargo +nightly --version > /dev/null 2>&1 || missing "a nightly toolchain (rustup toolchain install nightly)"
command -v cargo-fuzz > /dev/null || missing "cargo-fuzz (cargo install --locked cargo-fuzz)"

targets=("$@")
if [ "${#targets[@]}" = 0 ]; then
    mapfile -t targets < <(cargo +nightly fuzz list)
fi

# What is looked for are panics and broken promises; there is no unsafe code an address sanitizer could
# watch outside of libraries, and without one it builds and runs several times as fast.
cargo +nightly fuzz build --sanitizer none || { echo "the targets do not build" >&2; exit 1; }

failed=()
for target in "${targets[@]}"; do
    printf '\n== %s, %s s\n' "$target" "$seconds"
    mkdir -p "fuzz/corpus/$target"
    cargo +nightly fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 ||
        failed+=("$target")
done

if [ "${#failed[@]}" != 0 ]; then
    printf '\nfuzzing found something in: %s (see fuzz/artifacts)\n' "${failed[*]}" >&2
    exit 1
fi
printf '\n%d targets, nothing found\n' "${#targets[@]}"
