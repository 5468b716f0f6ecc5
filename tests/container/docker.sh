#!/bin/sh
# Stands in for docker where no daemon runs and no image can be pulled: podman and its kin, with storage of
# the test's own in $TEST_STORAGE and the binary built before. The network is $TEST_NETWORK, else the host's (where
# the test's broker is).
set -eu
verb=$1
shift
storage="--root $TEST_STORAGE/images --runroot $TEST_STORAGE/run --storage-driver vfs"
export CONTAINERS_CONF="$TEST_STORAGE/containers.conf"
# shellcheck disable=SC2086 # the storage flags are words
case $verb in
    build) exec buildah $storage bud --quiet --isolation chroot --format docker --build-arg SOURCE=prebuilt "$@" ;;
    run) exec podman $storage --tmpdir "$TEST_STORAGE/tmp" --runtime runc run --no-healthcheck --network "${TEST_NETWORK:-host}" "$@" ;;
    *) exec podman $storage --tmpdir "$TEST_STORAGE/tmp" --runtime runc "$verb" "$@" ;;
esac
