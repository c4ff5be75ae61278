#!/usr/bin/env bash
# A PostgreSQL server for tests: in a folder of its own, which is removed at the end, on a Unix socket in it alone, so
# that it needs no port. It ends when standard input does.
#
#   scripts/postgres.sh DIR
#
# Says `ready URL` when it answers. Takes lines: `stop` (says `stopped`) and `start` (says `ready URL`).
# When it can't run, it says why on standard error and ends.
set -euo pipefail

dir=${1:?folder}
bin=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -1 || true)
if [ -z "$bin" ]; then
    bin=$(dirname "$(command -v initdb || true)")
    [ -x "$bin/initdb" ] || { echo "postgres: there is no PostgreSQL here: scripts/setup.sh --test installs it" >&2; exit 1; }
fi

# It refuses to run as root.
as_user=()
mkdir -p "$dir"
if [ "$(id -u)" -eq 0 ]; then
    as_user=(runuser -u postgres --)
    chown postgres "$dir"
fi

stop() { "${as_user[@]}" "$bin/pg_ctl" -D "$dir/data" -m immediate -s stop >/dev/null 2>&1 || true; }
start() {
    # What a test wrote need not survive the machine.
    "${as_user[@]}" "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -s \
        -o "-k '$dir' -c listen_addresses='' -c fsync=off -c full_page_writes=off" start </dev/null >&2 ||
        { cat "$dir/log" >&2; exit 1; }
    echo "ready postgres://postgres@localhost/postgres?host=$dir"
}
trap 'stop; rm -rf "$dir"' EXIT

cd "$dir"
"${as_user[@]}" "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C -N >/dev/null
start
while read -r line; do
    case $line in
        stop) stop; echo stopped ;;
        start) start ;;
        *) echo "postgres: unknown command '$line'" >&2 ;;
    esac
done
