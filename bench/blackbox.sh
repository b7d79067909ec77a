#!/bin/sh
# blackbox.sh FLAGS...: Riverwatch beside Prometheus and blackbox_exporter, which are Debian's packages of this machine's
# release, unpacked into a folder that goes afterwards: nothing is installed. FLAGS are those of bench, such as
# --monitors 24000 --interval 30s --duration 30s
set -eu

cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir" # apt downloads as a user of its own
(
  cd "$dir"
  apt-get -q download prometheus prometheus-blackbox-exporter >&2
  for package in *.deb; do dpkg -x "$package" root; done
)
make bench BENCH="blackbox --prometheus $dir/root/usr/bin/prometheus --exporter $dir/root/usr/bin/prometheus-blackbox-exporter $*"
