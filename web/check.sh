#!/usr/bin/env bash
# Fails where the committed page is not what its source builds.
set -euo pipefail
cd "$(dirname "$0")"
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
[ -d node_modules ] || npm ci --ignore-scripts
npx tsc --noEmit
npx vite build --outDir "$fresh" --emptyOutDir --logLevel warn
if ! diff -rq ../src/haarmony/app/page "$fresh"; then
  echo "src/haarmony/app/page is not what web/ builds: run 'npm ci && npm run build' in web/ and commit it" >&2
  exit 1
fi
echo "src/haarmony/app/page is what web/ builds"
