#!/usr/bin/env bash
# Makes the Python environment of the tests or of the benchmark, and prints its python on the last line.
#
#   scripts/setup-python.sh test     tests/python/requirements.txt into .venv/test
#   scripts/setup-python.sh bench    bench/requirements.txt into .venv/bench
#
# TRADEFLOW_VENV names another folder than .venv. What is there is kept while the requirements and the Python are the same.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

case "${1:-}" in
    test) requirements="$root/tests/python/requirements.txt" ;;
    bench) requirements="$root/bench/requirements.txt" ;;
    *) echo "usage: scripts/setup-python.sh test|bench" >&2; exit 2 ;;
esac
"$root/scripts/setup.sh" --test >&2

venv="${TRADEFLOW_VENV:-$root/.venv}/$1"
wanted="$(python3 --version) $(sha256sum <"$requirements")"
if [ ! -x "$venv/bin/python" ] || [ "$(cat "$venv/.installed" 2>/dev/null)" != "$wanted" ]; then
    echo "setup-python: installing ${requirements#"$root"/} into $venv" >&2
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    python3 -m venv "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$requirements" </dev/null >&2
    # Written last: an installation that was cut short is made anew.
    echo "$wanted" >"$venv/.installed"
else
    echo "setup-python: $venv is up to date" >&2
fi
echo "$venv/bin/python"
