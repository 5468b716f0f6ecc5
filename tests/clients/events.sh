#!/bin/sh
# Server-sent events with curl; asks for the next only when one has arrived. usage: events.sh URL
set -eu
curl -sSfN "$1/events" | while read -r line; do
    case $line in
        "data: "*)
            echo "$line"
            curl -sSf "$1/seen/${line#data: }"
            ;;
    esac
done
