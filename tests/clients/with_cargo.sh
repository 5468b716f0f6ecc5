#!/bin/sh
# Looks for a crate in a registry. usage: with_cargo.sh CARGO URL
set -eu
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
export CARGO_HOME="$home" CARGO_REGISTRIES_PRIVATE_INDEX="sparse+$2/index/"
"$1" search --registry private something
