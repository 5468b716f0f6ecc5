#!/bin/sh
# A client with no HTTP library at all: openssl opens the tunnel and the TLS session, we type the requests.
# usage: with_openssl.sh HOST:PORT BODY
set -eu
target=$1
body=$2
proxy=${HTTPS_PROXY#http://}
user_info=${proxy%@*}
exchange() {
    openssl s_client -quiet -verify_quiet -verify_return_error -CAfile "$SSL_CERT_FILE" \
        -proxy "${proxy##*@}" -proxy_user "${user_info%%:*}" -proxy_pass "pass:${user_info#*:}" \
        -connect "$target" -servername "${target%:*}"
}
printf 'GET /get HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$target" | exchange
length=$(printf '%s' "$body" | wc -c)
printf 'POST /post HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
    "$target" "$length" "$body" | exchange
