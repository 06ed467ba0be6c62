#!/usr/bin/env bash
# Makes an image like debian:12-slim without a registry, from Debian's packages: localhost/debian:12-slim, for
# --build-arg BASE. Needs root, debootstrap and buildah (apt-get install debootstrap buildah), and two minutes.
#
#   image/debian-base.sh [MIRROR]
set -euo pipefail

export STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

debootstrap --variant=minbase bookworm "$root" "$@"

# What the slim image leaves out, now and when packages come in later.
cat >"$root/etc/dpkg/dpkg.cfg.d/slim" <<'END'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/info/*
path-exclude /usr/share/lintian/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
END
find "$root/usr/share/doc" -type f -not -name copyright -delete
find "$root/usr/share/doc" -type l -delete
rm -rf "$root"/usr/share/{info,lintian,locale,man}/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*

# Packages come from where this machine has them from: security updates are in Debian's own list, not in debootstrap's.
if [[ -f /etc/apt/sources.list.d/debian.sources ]]; then
	cp /etc/apt/sources.list.d/debian.sources "$root/etc/apt/sources.list.d/"
	rm -f "$root/etc/apt/sources.list"
fi

container=$(buildah from scratch)
buildah add --quiet "$container" "$root" /
buildah config --cmd bash "$container"
buildah commit --quiet --rm "$container" localhost/debian:12-slim
