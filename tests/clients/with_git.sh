#!/bin/sh
# Fetches into a repository with a history of its own, then pushes more than a megabyte. usage: with_git.sh URL
set -eu
git init -q -b topic work
cd work
git config user.name Test
git config user.email test@example.test
# So many commits that the fetch asks about them in a request that git compresses: more than 1 KiB of them.
count=0
while [ "$count" != 60 ]; do
    git commit -q --allow-empty -m "$count"
    count=$((count + 1))
done
git fetch -q "$1" main
git rev-parse FETCH_HEAD
# More than git puts into one request with a length (http.postBuffer, 1 MiB), so the push goes out in chunks.
head -c 1500000 /dev/urandom > large
git add large
git commit -q -m large
git push -q "$1" topic
git rev-parse HEAD
