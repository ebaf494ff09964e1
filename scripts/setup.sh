#!/usr/bin/env bash
# Installs what building, testing and the demo need on Debian, and nothing that is there already.
# Safe to run twice. Needs root and Go (see go.mod for the version).
set -euo pipefail
packages=(mmdebstrap bubblewrap gnupg apt-utils iproute2 util-linux e2fsprogs postgresql rpm chromium)
# npm fetches the console's style sheet, icons and scripts; one that came another way will do.
command -v npm >/dev/null || packages+=(nodejs npm)

if [ "$(id -u)" != 0 ]; then
	echo "setup: devices are real namespaces and overlays: run this as root" >&2
	exit 1
fi
if ! command -v go >/dev/null; then
	echo "setup: Go is missing; install the version that go.mod names (https://go.dev/doc/install)" >&2
	exit 1
fi
# promtool checks the alerts of deploy/. Debian has it in the package prometheus only, which would start a service and brings
# a web interface: the program alone is taken out of it.
if ! command -v promtool >/dev/null; then
	echo "setup: fetching promtool"
	at=$(mktemp -d)
	trap 'rm -rf "$at"' EXIT
	chmod 755 "$at"
	apt-get -q -o DPkg::Lock::Timeout=300 update
	(cd "$at" && apt-get -q download prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool)
	install -m 755 "$at/usr/bin/promtool" /usr/local/bin/promtool
fi
missing=()
for p in "${packages[@]}"; do
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
done
if [ ${#missing[@]} = 0 ]; then
	echo "setup: all Debian packages are there"
	exit 0
fi
echo "setup: installing ${missing[*]}"
apt-get -q -o DPkg::Lock::Timeout=300 update
# postgresql must not start a cluster of its own here: the tests make theirs.
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "${missing[@]}"
