#!/usr/bin/env bash
# Builds both images with buildah, without a daemon and without a registry: on a base that debootstrap makes, unless
# BASE names one. Needs root, Debian's buildah and debootstrap. WORK keeps the base between runs.
#
#   deploy/images/build.sh farm        the image without torch, as localhost/wanfarm-farm
#   deploy/images/build.sh gpu         the worker's, as localhost/wanfarm-gpu
set -euo pipefail
cd "$(dirname "$0")/../.."
which=${1:?farm or gpu}
WORK=${WORK:-/var/tmp/wanfarm-images}
mkdir -p "$WORK"
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
if [[ -z ${BASE:-} ]]; then
    BASE=localhost/wanfarm-base
    if ! buildah inspect --type image "$BASE" >/dev/null 2>&1; then
        [[ -d $WORK/base/bin ]] || debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$WORK/base"
        # as the slim images are: nobody reads manuals in a container
        rm -rf "$WORK"/base/usr/share/{doc,man,info,locale}/* "$WORK"/base/var/{cache/apt,lib/apt/lists}/*
        container=$(buildah from scratch)
        buildah add "$container" "$WORK/base" /
        buildah commit --rm "$container" "$BASE"
    fi
fi
# this machine's pip and the folders and certificates that it uses, also inside
volumes=()
named=$(pip config list 2>/dev/null | grep -oE "(/[A-Za-z0-9._-]+)+" | sed 's,/simple$,,' | sort -u)
for path in /etc/pip.conf /etc/ssl/certs "$HOME/.config/pip/pip.conf" $named; do
    if [[ -e $path ]]; then volumes+=(--volume "$path:$path:ro"); fi
done
buildah bud --pull-never "${volumes[@]}" --build-arg BASE="$BASE" --layers \
    -f "deploy/images/Dockerfile.$which" -t "localhost/wanfarm-$which" .
