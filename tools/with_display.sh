#!/bin/bash
# Run a command with a virtual display of its own, or with the one there is where Xvfb is not installed.
set -u
if ! command -v Xvfb >/dev/null 2>&1; then
    exec "$@"
fi
exec 3< <(exec Xvfb -displayfd 1 -screen 0 1920x1200x24 -nolisten tcp 2>/dev/null)
server=$!
trap 'kill "$server" 2>/dev/null' EXIT
read -r -t 30 number <&3 || { echo "Xvfb did not start." >&2; exit 1; }
DISPLAY=":$number" "$@"
