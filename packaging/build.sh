#!/bin/sh
# Builds the static programs and their Debian packages, bit for bit the same from the same source, version
# and SOURCE_DATE_EPOCH (the time of the last commit by default).
#
#   packaging/build.sh VERSION OUTDIR
#
# Needs Go, and npm for the console's files. nfpm is built from its own module (packaging/tools), so that its dependencies are not ours.
set -eu

[ $# -eq 2 ] || { echo "usage: $0 VERSION OUTDIR" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
version=$1

# A Debian version begins with a digit and has no dash of its own: v1.2-3-gabc becomes 1.2+3.gabc, and what
# is no version at all sorts before every release.
debian=$(printf %s "$version" | sed -e 's/^v//' -e 's/-/+/' -e 's/-/./g' -e 's/[^A-Za-z0-9.+~]/./g')
case $debian in
[0-9]*) ;;
*) debian="0~$debian" ;;
esac

epoch=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH="$epoch" CGO_ENABLED=0 GOOS=linux GOARCH="${GOARCH:-amd64}"
umask 022

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT INT TERM

# nfpm runs here, whatever is being built for.
(cd "$root/packaging/tools" && GOARCH='' GOOS='' go build -o "$stage/nfpm" github.com/goreleaser/nfpm/v2/cmd/nfpm)

"$root/server/internal/web/assets/build.sh"
for program in assentd assent-agent assent; do
	(cd "$root" && go build -trimpath -ldflags "-s -w -X main.version=$version" -o "$stage/bin/$program" "./cmd/$program")
done
cp -R "$root/packaging/assentd" "$root/packaging/assent-agent" "$root/packaging/assent" "$stage/"
cp "$stage/bin/"* "$out/"

# Files carry the source's time, not the build's.
find "$stage" -exec touch -h -d "@$epoch" {} +

cd "$stage"
for package in assentd assent-agent assent; do
	VERSION="$debian" ARCH="$GOARCH" ./nfpm package --config "$package/nfpm.yaml" --packager deb \
		--target "$out/${package}_${debian}_${GOARCH}.deb"
done
