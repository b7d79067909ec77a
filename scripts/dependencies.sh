#!/bin/sh
# dependencies.sh: fail unless docs/dependencies.md tells of exactly the modules that go.mod requires directly.
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
