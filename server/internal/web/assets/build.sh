#!/bin/sh
# Fetches what the console takes from others, by the lock file, and puts it where the server embeds it. Does nothing
# when that is there already. Needs npm, which is asked for exactly the versions and digests of package-lock.json.
set -eu
cd "$(dirname "$0")"
vendor=../static/vendor
exec 9<build.sh && flock 9 # one at a time
want=$(cat package.json package-lock.json icons.txt build.mjs build.sh | sha256sum | cut -d' ' -f1)
[ "$(cat "$vendor/.built" 2>/dev/null || true)" = "$want" ] && [ -e axe.min.js ] && exit 0
command -v npm >/dev/null || { echo "assets: npm is missing; scripts/setup.sh installs it" >&2; exit 1; }
echo "assets: fetching the console's style sheet, icons and scripts"
npm ci --include=dev --silent --no-progress
rm -f "$vendor/.built"
node build.mjs "$vendor"
rm -rf node_modules
printf %s "$want" >"$vendor/.built"
