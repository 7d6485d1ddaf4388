#!/bin/sh
# A real napari window needs OpenGL and, where there is no screen, Xvfb: install what is missing on Debian as root.
set -eu
[ "$(uname)" = Linux ] || exit 0
packages="xvfb libgl1 libegl1 libopengl0 libgl1-mesa-dri libdbus-1-3 libxkbcommon-x11-0 libxcb-cursor0
libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0"

if ! command -v dpkg-query >/dev/null 2>&1; then
    command -v Xvfb >/dev/null 2>&1 || [ -n "${DISPLAY:-}" ] || {
        echo "The window tests need a display: install Xvfb and Mesa's OpenGL." >&2
        exit 1
    }
    exit 0
fi
missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ]; then
    echo "Installing$missing"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "The window tests need system packages; type: sudo apt-get install -y$missing" >&2
    exit 1
fi
