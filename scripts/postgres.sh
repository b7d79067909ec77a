#!/bin/sh
# A private PostgreSQL 17 with TimescaleDB for development, tests and the embedded default.
#
#   postgres.sh with DIR CMD...    start the cluster DIR, run CMD with its DATABASE_URL, stop it when CMD ends
#   postgres.sh throwaway CMD...   run CMD with the TEST_DATABASE_URL of a new cluster, which goes when CMD ends
#   postgres.sh start DIR PORT     start the cluster DIR on 127.0.0.1:PORT (0: a free one), print its URL
#   postgres.sh stop DIR           stop the cluster DIR
#   postgres.sh url DIR            print the URL of the cluster DIR, which runs
#   postgres.sh fetch              put the server's programs in place, print their folder
#
# A cluster that is not there yet is created. DATABASE_URL names its superuser, who alone knows the password.
#
# The programs are those of the machine where it has TimescaleDB for its PostgreSQL. Elsewhere, on Debian and its
# kin, they are Debian 13's own signed packages, unpacked into a cache folder and run with their own C library:
# nothing is installed, nothing on the system changes, and no root is needed (about 40 MB, once).
set -eu

suite=trixie major=17
me=$(id -u)
if [ "$me" = 0 ]; then
  cache=${RIVERWATCH_CACHE:-/var/cache/riverwatch} # PostgreSQL refuses root: it runs as another user, who must reach these
else
  cache=${RIVERWATCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/riverwatch}
fi
bundle=$cache/postgresql-$major-$suite

say() { echo "$(date +%T)  postgres: $*" >&2 || true; } # as riverwatch logs for people; the terminal may be gone
die() { say "$*"; exit 1; }
usage() { sed -n 's/^#   postgres.sh/postgres.sh/p' "$0" >&2; exit 2; }

# ---- the programs ----

# what the server and its client programs link to; LLVM (the JIT) is left out
packages="postgresql-$major-timescaledb postgresql-$major postgresql-client-$major libpq5 libc6 libgcc-s1 libstdc++6
 libicu76 libssl3t64 libldap2 libsasl2-2 libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0 libcom-err2
 libkeyutils1 libpam0g libaudit1 libcap-ng0 libselinux1 libpcre2-8-0 libsystemd0 libcap2 libgcrypt20 libgpg-error0
 libxml2 libxslt1.1 liblzma5 libzstd1 zlib1g liblz4-1 libuuid1 libreadline8t64 libtinfo6 libffi8 libxxhash0 tzdata"

# fetch prints the folder of the programs, once they are there.
fetch() {
  system_bin && return
  bin=$bundle/usr/lib/postgresql/$major/bin
  if [ ! -e "$bundle/complete" ]; then
    make_folder "$cache"
    exec 8>>"$cache/lock"
    flock -n 8 || { say "waiting for another run that downloads PostgreSQL…"; flock 8; }
    [ -e "$bundle/complete" ] || download
    exec 8>&-
  fi
  echo "$bin"
}

system_bin() {
  for config in "$(command -v pg_config || true)" /usr/lib/postgresql/*/bin/pg_config /opt/homebrew/opt/postgresql@*/bin/pg_config; do
    [ -x "$config" ] || continue
    [ -e "$("$config" --sharedir)/extension/timescaledb.control" ] && [ -x "$("$config" --bindir)/initdb" ] || continue
    "$config" --bindir
    return
  done
  return 1
}

instead="or set DATABASE_URL (for tests TEST_DATABASE_URL), or use 'docker compose up'"

download() {
  command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
    die "no PostgreSQL with TimescaleDB on this machine, and no apt-get to fetch one with: install both, $instead"
  rm -rf "$bundle" "$bundle".[0-9]* # what a killed run left behind: nobody else works there, as we have the lock
  work=$bundle.$$
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/debs"
  mirror=$(debian_mirror)
  echo "deb [signed-by=$(debian_keyring)] $mirror $suite main" >"$work/sources.list"
  : >"$work/status"
  echo '#clear APT::Update::Post-Invoke;' >"$work/apt.conf" # container images tidy the system's cache there

  say "downloading PostgreSQL $major with TimescaleDB from this machine's Debian mirror (about 40 MB, once)…"
  say "reading the list of packages…"
  apt -qq update >&2
  count=$(echo $packages | wc -w)
  (cd "$work/debs" && apt -q download $packages) | show_progress
  for package in $packages; do dpkg -x "$work/debs/$package"_*.deb "$work/root" || die "the download failed: try again"; done
  wrap_programs "$work/root/usr/lib/postgresql/$major"
  chmod -R a+rX "$work/root"
  touch "$work/root/complete"
  mv "$work/root" "$bundle"
  rm -rf "$work"
  trap - EXIT
}

# the Debian mirror that this machine already uses
debian_mirror() {
  [ -z "${DEBIAN_MIRROR:-}" ] || { echo "$DEBIAN_MIRROR"; return; }
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 -E '/debian/?$' ||
    die "no Debian mirror among this machine's package sources: set DEBIAN_MIRROR to the URL of one, $instead"
}

# Debian's public keys, which Debian's kin such as Ubuntu have as a package of their own, signed by them
debian_keyring() {
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  if [ ! -e $keyring ]; then
    (cd "$work" && apt-get -qq download debian-archive-keyring >&2 && dpkg -x debian-archive-keyring_*.deb keyring) ||
      die "Debian's keys are missing: run 'apt-get update', or install debian-archive-keyring"
    keyring=$work/keyring$keyring
  fi
  echo "$keyring"
}

# apt ARGS...: apt-get with lists, sources and a cache of its own, so that the system's stay as they are
apt() {
  LC_ALL=C apt-get -c "$work/apt.conf" -oDir::Etc::sourcelist="$work/sources.list" -oDir::Etc::sourceparts=/dev/null \
    -oDir::State="$work" -oDir::State::Lists="$work/lists" -oDir::State::status="$work/status" -oDir::Cache="$work" \
    -oDir::Cache::archives="$work/archives" -oAPT::Sandbox::User= "$@"
}

# show_progress tells of each package that apt gets: it says "Get:1 URL SUITE ARCH NAME …".
show_progress() {
  started=0
  while read -r what _ _ _ package _; do
    case $what in Get:*) started=$((started + 1)); say "package $started of $count: $package" ;; esac
  done
}

# wrap_programs DIR: each program becomes a wrapper that starts the real one under the bundle's own loader and libraries.
wrap_programs() {
  mkdir "$1/real"
  for program in initdb pg_ctl pg_dump pg_isready pg_restore pgbench postgres psql; do
    mv "$1/bin/$program" "$1/real/"
    cat >"$1/bin/$program" <<'W'
#!/bin/sh
bin=$(cd "$(dirname "$0")" && pwd)
usr=${bin%/lib/postgresql/*}
loader=$(echo "$usr"/lib/*/ld-linux-*.so.*)
exec "$loader" --argv0 "$bin/${0##*/}" --library-path "${loader%/*}" "${bin%/bin}/real/${0##*/}" "$@"
W
    chmod 755 "$1/bin/$program"
  done
}

# ---- a cluster: its folder is $dir, its server runs as $uid and $gid ----

# locate DIR sets $dir, $uid and $gid. Root's clusters belong to another user, who must be able to reach them.
locate() {
  dir=$(readlink -m "$1")
  uid=$me gid=$(id -g)
  [ "$me" = 0 ] || return 0
  owner=$(stat -c '%u %g' "$dir" 2>/dev/null || echo "0 0")
  if [ "${owner% *}" != 0 ]; then
    uid=${owner% *} gid=${owner#* }
  else
    user=postgres
    id $user >/dev/null 2>&1 || user=nobody
    uid=$(id -u $user) gid=$(id -g $user)
  fi
  parent=${dir%/*}
  until [ -d "$parent/" ]; do parent=${parent%/*}; done
  as_server test -x "$parent/." && return
  elsewhere=/var/lib/riverwatch/$(echo "${dir#/}" | tr / -)
  [ "$dir" != "$elsewhere" ] || die "$(id -nu "$uid"), as whom the server of root runs, cannot reach $dir"
  say "$dir cannot be reached by $(id -nu "$uid"), as whom the server of root runs: using $elsewhere"
  locate "$elsewhere"
}

# as_server CMD...: run CMD as the server's user
as_server() {
  if [ "$me" != 0 ]; then "$@"; return; fi
  (cd / && exec setpriv --reuid="$uid" --regid="$gid" --clear-groups "$@")
}

# make_folder DIR: whatever the umask says, the server's user may pass through it
make_folder() { (umask 022 && mkdir -p "$1"); }

# create makes the cluster in a folder beside its own, so that one that is there is always whole.
create() {
  say "creating a database cluster in $dir (some seconds, once)…"
  [ ! -d "$dir" ] || rmdir "$dir" 2>/dev/null || die "$dir is neither empty nor a database cluster"
  new=$dir.new
  rm -rf "$new"
  make_folder "$new"
  [ "$me" != 0 ] || chown "$uid:$gid" "$new"
  od -An -N16 -tx1 /dev/urandom | tr -d ' \n' | as_server sh -c 'umask 077 && cat >"$1"' - "$new/password"
  as_server "$bin/initdb" -D "$new/data" -U riverwatch -A scram-sha-256 --pwfile="$new/password" -E UTF8 \
    --locale=C.UTF-8 $initdb_options >/dev/null || die "initdb failed"
  printf '%s\n' "shared_preload_libraries = 'timescaledb'" "timescaledb.telemetry_level = off" "jit = off" \
    "unix_socket_directories = ''" "listen_addresses = '127.0.0.1'" "max_connections = 200" $settings |
    as_server tee -a "$new/data/postgresql.conf" >/dev/null
  mv "$new/password" "$new/data/riverwatch.password"
  mv "$new/data" "$dir"
  rmdir "$new"
}
initdb_options= settings=

# start PORT: start the server on PORT (0: a free one) unless it runs, and set $url.
start() {
  bin=$(fetch)
  as_server test -x "$bin/postgres" || die "$(id -nu "$uid"), as whom the server of root runs, cannot reach $bin: set RIVERWATCH_CACHE"
  [ -e "$dir/PG_VERSION" ] || create
  [ -r "$dir/PG_VERSION" ] || die "$dir belongs to $(stat -c %U "$dir"): run this as that user or as root"
  settle
  running || launch "$1"
  url=$(url)
  PGPASSWORD=$(password) "$bin/psql" -qXAt -h 127.0.0.1 -p "$(port)" -U riverwatch -d postgres >/dev/null -v ON_ERROR_STOP=1 <<'SQL'
SELECT 'CREATE DATABASE riverwatch' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'riverwatch') \gexec
SQL
}

# servers prints the processes of PostgreSQL that work in $dir: each has made it its current folder. A process that is
# dead but not yet buried has none, nor has one that got a dead server's number.
servers() {
  find /proc/[0-9]*/cwd -maxdepth 0 -lname "$dir" 2>/dev/null | while IFS=/ read -r _ _ pid _; do
    if grep -qs postgres "/proc/$pid/cmdline"; then echo "$pid"; fi
  done
}

running() { [ -n "$(servers | grep -x "$(sed -n 1p "$dir/postmaster.pid" 2>/dev/null)")" ]; }

# settle waits until either a whole server runs or nothing does: a killed one leaves processes, for a moment, and its
# postmaster.pid, which may name a process that is not its own by now.
settle() {
  for second in $(seq 60); do
    [ -n "$(servers)" ] || { rm -f "$dir/postmaster.pid"; return; }
    ! running || return 0
    [ "$second" != 1 ] || say "waiting for the rest of a killed server to end…"
    sleep 1
  done
  die "processes of a killed server still work in $dir: end $(servers | tr '\n' ' ')"
}

# launch PORT: a port that is not given is one that belongs to $dir, or if somebody has it, the next.
launch() {
  from=$(echo "$dir" | cksum | cut -d ' ' -f 1)
  for try in $(seq 0 49); do
    port=$1
    [ "$port" != 0 ] || port=$((20000 + (from + try * 37) % 12000)) # below those that outgoing connections take
    [ ! -e "$dir/server.log" ] || mv -f "$dir/server.log" "$dir/server.log.1"
    as_server "$bin/pg_ctl" -D "$dir" -l "$dir/server.log" -w -o "-p $port" start >/dev/null 2>&1 9>&- && return
    if [ "$1" != 0 ] || ! grep -qs 'Address already in use' "$dir/server.log"; then break; fi
  done
  tail -n 20 "$dir/server.log" >&2 || true
  die "the server did not start: see $dir/server.log"
}

# stop MODE: stop the server, if it runs, and wait for the last of its processes.
stop() {
  running || return 0
  as_server "$(fetch)/pg_ctl" -D "$dir" -m "$1" -w -t 60 stop >/dev/null 2>&1 || say "the server in $dir did not stop"
  for second in $(seq 10); do
    [ -n "$(servers)" ] || return 0
    sleep 1
  done
}

port() { sed -n 4p "$dir/postmaster.pid"; }
password() { cat "$dir/riverwatch.password" 2>/dev/null || true; } # an old cluster has none
url() { secret=$(password) && echo "postgres://riverwatch${secret:+:$secret}@127.0.0.1:$(port)/riverwatch?sslmode=disable"; }

# ---- running a command on a cluster ----

# lock FILE: we, and then CMD, are the only ones to use a cluster until both of us have ended, however we end.
lock() {
  (: >>"$1") 2>/dev/null || die "$1 belongs to $(stat -c %U "$1" || echo another user): run this as that user or as root"
  exec 9>>"$1"
  flock -n 9 || die "$dir is in use by another run (process $(tail -n 1 "$1")): stop that first"
}

# run CMD...: run CMD, pass on what asks us to end, and exit as CMD does. CMD has a session of its own, so that Ctrl-C
# reaches it once, through us, and whatever it started with it.
run() {
  child= asked=
  trap 'asked=TERM; pass_on' INT TERM HUP
  trap 'asked=QUIT; pass_on' QUIT # which makes a Go program show its goroutines
  setsid "$@" &
  child=$!
  echo "$child" >&9
  [ -z "$asked" ] || pass_on
  while :; do
    code=0
    wait "$child" || code=$?
    kill -0 "$child" 2>/dev/null || exit "$code" # else a signal ended the waiting, and not CMD
  done
}

pass_on() {
  [ -z "$child" ] || kill -s "$asked" -- "-$child" 2>/dev/null || kill -s "$asked" "$child" 2>/dev/null || true
}

# end_with CMD: run CMD at our end, whatever brings it about
end_with() {
  trap "trap '' INT TERM HUP QUIT PIPE; $1" EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  trap 'exit 131' QUIT
  trap 'exit 141' PIPE
}

# throwaway_dir makes a folder for a cluster that lasts as long as we do, and removes those whose users were killed.
throwaway_dir() {
  make_folder "$cache"
  exec 8>>"$cache/lock"
  flock 8
  for left in "$cache"/throwaway.*; do
    [ -d "$left" ] || continue
    if flock -n "$left/lock" true 2>/dev/null; then
      locate "$left/data"
      stop immediate
      rm -rf "$left"
    fi
  done
  folder=$(mktemp -d "$cache/throwaway.XXXXXX")
  chmod 755 "$folder"
  locate "$folder/data"
  lock "$folder/lock"
  exec 8>&-
}

case "${1:-}" in
  fetch) [ $# = 1 ] || usage; fetch ;;
  start) [ $# = 3 ] || usage; locate "$2"; start "$3"; echo "$url" ;;
  stop) [ $# = 2 ] || usage; locate "$2"; stop fast ;;
  url) [ $# = 2 ] || usage; locate "$2"; running || die "no server runs in $dir"; url ;;
  with)
    [ $# -ge 3 ] || usage
    locate "$2"
    shift 2
    make_folder "${dir%/*}"
    lock "$dir.lock"
    end_with '! running || say "stopping the database…"; stop fast'
    start 0
    export DATABASE_URL="$url"
    say "the database is in $dir, on port $(port)"
    run "$@"
    ;;
  throwaway)
    [ $# -ge 2 ] || usage
    shift
    bin=$(fetch)
    throwaway_dir
    end_with 'stop immediate; rm -rf "$folder"'
    initdb_options=--no-sync
    settings='fsync=off synchronous_commit=off full_page_writes=off max_connections=300 max_locks_per_transaction=256'
    start 0
    export TEST_DATABASE_URL="$url"
    run "$@"
    ;;
  *) usage ;;
esac
