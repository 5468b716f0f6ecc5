#!/bin/sh
# A GET and a POST with wget, which has no variable for its roots: the bundle is named by hand.
# usage: with_wget.sh URL BODY
set -eu
wget -q -O - --ca-certificate="$SSL_CERT_FILE" "$1/get"
wget -q -O - --ca-certificate="$SSL_CERT_FILE" --post-data="$2" "$1/post"
