#!/bin/sh
# cover.sh PROFILE MIN: the share of our statements that some test runs, per package and in all; fails under MIN %.
# Left out: what sqlc generates, and what only tests use. bench is shown and not counted: it measures running processes, and
# what its numbers are worth is seen by running it. A statement counts as run if the tests of any package run it.
set -eu

generated=$(grep -rlE '^// Code generated .* DO NOT EDIT\.$' --include='*.go' . | sed 's|^\./||')
module=$(go list -m)

awk -v min="$2" -v module="$module/" -v left_out="$generated db/dbtest/ monitors/monitorstest/ probe/hostile/" '
BEGIN { split(left_out, names) }
/^mode:/ { next }
{
  file = substr($1, 1, index($1, ":") - 1)
  file = substr(file, length(module) + 1)
  for (i in names) if (index(file, names[i]) == 1) next
  statements[$1] = $2
  if ($3 > 0) run[$1] = 1
  package[$1] = file
  sub("/[^/]*$", "", package[$1])
}
END {
  for (block in statements) {
    counts = package[block] !~ /^bench(\/|$)/
    all[package[block]] += statements[block]
    total += counts * statements[block]
    if (block in run) {
      covered[package[block]] += statements[block]
      total_covered += counts * statements[block]
    }
  }
  if (total == 0) { print "cover: no statements in the profile"; exit 1 }
  for (name in all) printf "%6.1f %%  %5d of %5d  %s\n", 100 * covered[name] / all[name], covered[name], all[name], name | "sort -k 6"
  close("sort -k 6")
  share = 100 * total_covered / total
  printf "%6.1f %%  %5d of %5d  in all (at least %.1f %% wanted)\n", share, total_covered, total, min
  exit share < min
}' "$1"
