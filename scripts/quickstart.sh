#!/usr/bin/env bash
# The main job in one go, on this machine alone: an app calls an HTTPS API without a key, and the API
# receives one. Builds the product, starts a broker and an origin, sets them up through the command line,
# runs the app, shows what happened, and leaves nothing behind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly HOST=api.payments.test
readonly KEY="sk_demo_$RANDOM$RANDOM$RANDOM"
readonly PASSWORD="a password for the demonstration"
readonly PATIENCE=20 # seconds for a program of ours to say that it is ready

# Programs get the search path and what is named; nothing else of this shell's environment.
isolated() { env -i PATH="$PATH" "$@"; }

say() { printf '\n== %s\n' "$*" >&2; }

fail() {
    printf 'quickstart: %s\n' "$1" >&2
    for log in "$work"/*.log; do
        [ -s "$log" ] && sed "s|^|    ${log##*/}: |" "$log" >&2
    done
    exit 1
}

cleanup() {
    local pid
    for pid in "${started[@]}"; do
        kill "$pid" 2> /dev/null || true
        wait "$pid" 2> /dev/null || true
    done
    rm -rf "$work"
}

build() {
    local status=0
    ./scripts/build-static.sh --install --examples || status=$?
    local target_dir=${CARGO_TARGET_DIR:-target}
    case $status in
        0) built="$target_dir/$(uname -m)-unknown-linux-musl/release" ;;
        3)
            say "No static binary on this machine (see above): building for the host instead"
            cargo build --locked --release --bin agent-vault --example origin --example probe
            built="$target_dir/release"
            ;;
        *) exit "$status" ;;
    esac
    built=$(cd "$built" && pwd)
}

# Reads lines from descriptor $1 until one starts with $2; prints the rest of that line.
line_after() {
    local line
    while IFS= read -r -t "$PATIENCE" line <&"$1"; do
        if [ "${line#"$2"}" != "$line" ]; then
            printf '%s' "${line#"$2"}"
            return
        fi
    done
    fail "nothing said \"$2\""
}

# Starts program $1 with the rest as its command line; what it says on stdout can be read from its pipe.
start() {
    local pipe="$work/$1.pipe" log="$work/$1.log"
    shift
    mkfifo "$pipe"
    "$@" > "$pipe" 2> "$log" &
    started+=($!)
}

start_origin() {
    local origin_address
    start origin "$built/examples/origin" "$work/origin-ca.pem" "$HOST"
    exec {origin_says}< "$work/origin.pipe"
    origin_address=$(line_after "$origin_says" "origin listening on ")
    url="https://$HOST:${origin_address##*:}/v1/charges"
}

start_broker() {
    mkdir "$work/broker"
    start broker env -i PATH="$PATH" HOME="$work/broker" \
        AGENT_VAULT_MASTER_PASSWORD="$PASSWORD" \
        AGENT_VAULT_ALLOW_PRIVATE_RANGES=true \
        AGENT_VAULT_HOST_OVERRIDES="$HOST=127.0.0.1" \
        AGENT_VAULT_UPSTREAM_CA="$work/origin-ca.pem" \
        "$built/agent-vault" server --port 0 --mitm-port auto
    exec {broker_says}< "$work/broker.pipe"
    address=$(line_after "$broker_says" "Agent Vault server listening on ")
    line_after "$broker_says" "Agent Vault transparent proxy listening on " > /dev/null
}

operator() {
    printf '   agent-vault %s\n' "${*//$KEY/sk_demo_…}" >&2
    isolated HOME="$work" AGENT_VAULT_ADDR="$address" "$built/agent-vault" "$@"
}

set_up() {
    printf '%s\n' "$PASSWORD" | operator auth register --email you@example.test --password-stdin
    operator vault create demo
    operator vault credential set --vault demo "PAYMENTS_KEY=$KEY"
    operator vault service add --vault demo --name payments --host "$HOST" --auth-type bearer --token-key PAYMENTS_KEY
    token=$(operator agent create shop --vault demo:proxy --token-only)
}

# The app: one POST, then a look at everything it could read about itself and its parent.
run_app() {
    local app=("$built/examples/probe" "$url" amount=1099)
    if command -v curl > /dev/null; then
        app=(curl --silent --show-error --fail --verbose --data amount=1099 "$url")
    else
        printf '   (there is no curl here: a small client of our own stands in)\n' >&2
    fi
    printf '   agent-vault run -- %s\n' "${app[*]}" >&2
    mkdir "$work/app"
    # shellcheck disable=SC2016 # the child's shell expands these
    local look='"$@" || exit; cat "/proc/$$/environ" "/proc/$PPID/environ" "/proc/$PPID/cmdline" "$SSL_CERT_FILE" || :'
    isolated HOME="$work/app" AGENT_VAULT_ADDR="$address" AGENT_VAULT_TOKEN="$token" AGENT_VAULT_VAULT=demo \
        "$built/agent-vault" run -- sh -c "$look" sh "${app[@]}" > "$work/app.log" 2>&1 ||
        fail "the app did not run"
}

show() {
    local method target field
    method=$(line_after "$origin_says" "request: ")
    target=${method#* }
    method=${method%% *}
    field=$(line_after "$origin_says" "field: authorization: ")
    [ "$field" = "Bearer $KEY" ] || fail "the origin received \"$field\" instead of the credential"
    if grep -qi '^> authorization:' "$work/app.log"; then
        fail "the app sent a credential of its own"
    fi
    grep -qa "HTTPS_PROXY=http://" "$work/app.log" || fail "the app's environment was not seen"
    if grep -qaF -e "$KEY" -e "$token" "$work/app.log"; then
        fail "a secret is visible to the app"
    fi
    say "What happened"
    printf 'the app sent:         %s %s, with no key\n' "$method" "$url"
    printf 'the origin received:  %s %s, with authorization: %s\n' "$method" "$target" "$field"
    printf "the app can see:      no secret: neither the key nor the broker's token is in its environment or /proc\n"
}

main() {
    say "Building agent-vault (minutes the first time, seconds after that)"
    build
    work=$(mktemp -d)
    started=()
    trap cleanup EXIT
    say "Starting an HTTPS origin and a broker on free ports of this machine"
    start_origin
    start_broker
    say "Setting up: an owner, a vault, a credential, a service, an agent"
    set_up
    say "Running the app with agent-vault as its entrypoint"
    run_app
    show
}

main "$@"
