#!/usr/bin/env bash
# Every test there is, and one line at the end that says how it went.
#
# A test that needs a tool this machine lacks says so (SKIP) and counts as skipped; with AGENT_VAULT_CI=1
# that is a failure instead.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

passed=0
failed=0
skipped=0

# Runs one check that is not a Rust test.
check() {
    printf '\n== %s\n' "$1"
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n' "$*"
    fi
}

skip() {
    if [ -n "${AGENT_VAULT_CI:-}" ]; then
        failed=$((failed + 1))
        printf 'FAILED: %s may not be skipped here: %s\n' "$1" "$2"
    else
        skipped=$((skipped + 1))
        printf 'SKIP %s: %s\n' "$1" "$2"
    fi
}

build_static() {
    local status=0
    ./scripts/build-static.sh --examples || status=$?
    if [ "$status" = 3 ]; then
        skip static_binary "this machine cannot build it (see above)"
    else
        check "the static binary" test "$status" = 0
        [ "$status" != 0 ] || check "the entrypoint alone" entrypoint_alone
        [ "$status" != 0 ] || check "the size of the static binaries" ./scripts/size.sh
        [ "$status" != 0 ] || check "no path of this machine in them" nowhere
    fi
}

# Who reads a crash, or compares two builds, finds nothing of where they were made.
nowhere() {
    local built
    built="${CARGO_TARGET_DIR:-target}/$(uname -m)-unknown-linux-musl"
    ! grep --files-with-matches --fixed-strings -e "${CARGO_HOME:-$HOME/.cargo}/registry" -e "$PWD/src" \
        "$built/release/agent-vault" "$built/entrypoint/agent-vault"
}

# Built without the broker, the program runs an app without one and says what it has not.
entrypoint_alone() {
    ./scripts/build-static.sh --entrypoint || return
    local binary said status=0
    binary="${CARGO_TARGET_DIR:-target}/$(uname -m)-unknown-linux-musl/entrypoint/agent-vault"
    local auth='{"type": "bearer", "token": "STRIPE_KEY"}'
    # shellcheck disable=SC2016 # the app's shell expands them, not this one
    AGENT_VAULT_CONFIG="{\"services\": [{\"name\": \"stripe\", \"host\": \"api.stripe.com\", \"auth\": $auth}]}" \
        STRIPE_KEY=sk_test "$binary" run -- \
        sh -c 'test "$STRIPE_KEY" = __stripe_key__ && test -n "$HTTPS_PROXY" && test -s "$SSL_CERT_FILE"' || return
    said=$("$binary" vault service list 2>&1) || status=$?
    [ "$status" = 2 ] && [[ $said == *"this build is the entrypoint alone: it has no agent-vault vault service"* ]]
}

# Proves that the benchmark works; how fast we are is for a quiet machine.
benchmark() {
    local binary
    binary="${CARGO_TARGET_DIR:-target}/$(uname -m)-unknown-linux-musl/release/agent-vault"
    [ -x "$binary" ] || binary="${CARGO_TARGET_DIR:-target}/debug/agent-vault"
    check "the benchmark, in short" ./scripts/bench.sh --quick --binary "$binary"
}

# Adds up cargo's own summaries; a skipped test is one that cargo ignored, or that said SKIP and passed.
rust_tests() {
    printf '\n== cargo test\n'
    local log status=0 counts said
    log=$(mktemp)
    cargo test --locked --workspace --no-fail-fast 2>&1 | tee "$log" || status=$?
    counts=$(awk '/^test result: /{ p += $4; f += $6; i += $8 } END { print p + 0, f + 0, i + 0 }' "$log")
    said=$(grep -c 'SKIP [a-z_0-9]*: ' "$log")
    rm -f "$log"
    local p f i
    read -r p f i <<< "$counts"
    # A test that does not compile or crashes has no summary; cargo's status tells.
    if [ "$status" != 0 ] && [ "$f" = 0 ]; then
        f=1
    fi
    passed=$((passed + p - said))
    failed=$((failed + f))
    skipped=$((skipped + i + said))
}

shell_scripts() {
    if command -v shellcheck > /dev/null; then
        check "shell scripts" shellcheck scripts/*.sh tests/*/*.sh .ci/run
    else
        skip shell_scripts "shellcheck is missing"
    fi
}

build_static
rust_tests
benchmark
shell_scripts
check "the quickstart" ./scripts/quickstart.sh

printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
