#!/bin/sh
# licences.sh: print the licences and notices of all modules in the program, and of Go; fails if a module has none. For
# the image, which a program with other people's code in it may not leave without them. Not committed: 0.5 MB that
# follow from go.mod.
set -eu

modules=$(mktemp -d)
trap 'rm -rf "$modules"' EXIT

# notices DIR ROOT: the files with licences and notices in DIR and the folders above it, up to ROOT
notices() {
  folder=$1
  while :; do
    find "$folder" -maxdepth 1 -type f ! -name '*.go' |
      grep -iE '/(licen[cs]e|copying|notice|patents|third[-_]party)[^/]*$' || true
    [ "$folder" != "$2" ] || break
    folder=${folder%/*}
  done
}

# A folder with a licence of its own within a module counts only if one of its packages is in the program.
go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}} {{$.Dir}}{{end}}{{end}}' \
  ./cmd/riverwatch >"$modules/packages"
while read -r module version root folder; do
  notices "$folder" "$root" | sed "s|^|$module $version $root |"
done <"$modules/packages" | LC_ALL=C sort -u >"$modules/files"

for module in $(cut -d ' ' -f 1 "$modules/packages" | sort -u); do
  grep -qiE "^$module [^ ]+ .*/(licen[cs]e|copying)[^/]*$" "$modules/files" || { echo "licences: $module has no licence file" >&2; exit 1; }
done

echo "Riverwatch contains Go, and these modules. Their source is at https://proxy.golang.org, by module and version."
goroot=$(go env GOROOT)
{ echo "Go $(go env GOVERSION) $goroot $goroot/LICENSE"; cat "$modules/files"; } |
  while read -r module version root file; do
    printf '\n%s\n%s %s: %s\n\n' "$(printf '%080d' 0 | tr 0 =)" "$module" "$version" "${file#"$root"/}"
    cat "$file"
  done
