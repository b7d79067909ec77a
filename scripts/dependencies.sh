#!/bin/sh
# dependencies.sh: fail unless docs/dependencies.md tells of exactly the modules that go.mod requires directly, and
# .dockerignore lets through all that the program is made of.
set -eu

told=$(sed -nE 's/^\| `([^`]+)` \|.*/\1/p' docs/dependencies.md | LC_ALL=C sort)
required=$(go list -m -f '{{if not (or .Main .Indirect)}}{{.Path}}{{end}}' all | LC_ALL=C sort)
[ "$told" = "$required" ] || {
  echo "docs/dependencies.md and go.mod differ: + is required and not told of, - told of and not required" >&2
  folder=$(mktemp -d)
  echo "$told" >"$folder/told"
  echo "$required" >"$folder/required"
  diff "$folder/told" "$folder/required" | sed -n 's/^</-/p; s/^>/+/p' >&2
  rm -r "$folder"
  exit 1
}

# Nor does the image build without each folder of ours that the program is made of.
for folder in $(go list -deps ./cmd/riverwatch | sed -nE 's,^riverwatch/([^/]+).*,\1,p' | sort -u); do
  grep -qx "!$folder" .dockerignore || {
    echo ".dockerignore keeps $folder from the image, of which the program is made" >&2
    exit 1
  }
done
