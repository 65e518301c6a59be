#!/usr/bin/env bash
# What the container does: serve jobs (MODE_TO_RUN=serverless), or stay up for a person to work in (pod).
set -euo pipefail
cd "$(dirname "$0")"

case "${MODE_TO_RUN:-serverless}" in
serverless)
    exec python -u handler.py
    ;;
pod)
    echo "pod: try 'python handler.py --test_input \"\$(cat test_input.json)\"' in a shell of this container."
    trap 'exit 0' TERM INT
    while :; do
        sleep 3600 &
        wait $!
    done
    ;;
*)
    echo "MODE_TO_RUN must be 'serverless' or 'pod', not '$MODE_TO_RUN'." >&2
    exit 2
    ;;
esac
