#!/usr/bin/env bash
# Makes the machine ready to build TradeFlow, and says what it does. Nothing is asked; what is there is left alone.
#
#   scripts/setup.sh          what `make run` needs: Rust, a C and C++ compiler and make (zstd, blake3 and librdkafka
#                             hold C), OpenSSL's headers, gzip, zstd
#   scripts/setup.sh --test   also what `make test` needs: rustfmt, clippy, Python 3 with venv, PostgreSQL, docker-compose
#   (Kafka for the tests: scripts/setup-kafka.sh)
#
# Missing packages are installed with apt-get (through sudo when not root); elsewhere the script names them and stops.
set -euo pipefail

with_tests=no
case "${1:-}" in
    "") ;;
    --test) with_tests=yes ;;
    *) echo "setup: unknown option '$1' (only --test is known)" >&2; exit 2 ;;
esac

have() { command -v "$1" >/dev/null 2>&1; }

packages=()
# cc alone is not enough: on a machine with a bare compiler the C headers come with build-essential, and so do make and
# the C++ compiler, without which librdkafka's configure stops.
if ! have cc || ! have c++ || ! have make || ! echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1; then
    packages+=(build-essential)
fi
# librdkafka speaks TLS through OpenSSL.
if ! have pkg-config || ! pkg-config --exists openssl; then packages+=(pkg-config libssl-dev); fi
have zstd || packages+=(zstd)
have gzip || packages+=(gzip)
if [ "$with_tests" = yes ]; then
    if ! have python3; then
        packages+=(python3 python3-venv)
    elif ! python3 -c 'import venv, ensurepip' >/dev/null 2>&1; then
        packages+=(python3-venv)
    fi
    # Its programs are not on the path; the tests start a server of their own (scripts/postgres.sh).
    if ! have initdb && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then packages+=(postgresql); fi
    # Reads docker-compose.yml; no container engine comes with it, and none is needed.
    if ! have docker-compose && ! docker compose version >/dev/null 2>&1; then packages+=(docker-compose); fi
fi

if [ ${#packages[@]} -gt 0 ]; then
    echo "setup: installing ${packages[*]}"
    if ! have apt-get; then
        echo "setup: no apt-get on this machine. Install these (or what your system calls them), then run again: ${packages[*]}" >&2
        exit 1
    fi
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || { echo "setup: not root and no sudo. Have an administrator run: apt-get install ${packages[*]}" >&2; exit 1; }
        as_root=(sudo)
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q update </dev/null
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${packages[@]}" </dev/null
fi

# rustup puts cargo here; a shell that was open before the installation does not know it yet.
if ! have cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then
    echo "setup: cargo is in ~/.cargo/bin but not on the PATH. Run '. \"\$HOME/.cargo/env\"' and try again." >&2
    exit 1
fi
if ! have cargo || ! have rustc; then
    echo "setup: Rust is missing. Install it as https://www.rust-lang.org/tools/install says (rustup), then run again." >&2
    exit 1
fi
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "${BASH_SOURCE[0]}")/../Cargo.toml")
found=$(rustc --version | cut -d' ' -f2)
if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n1)" != "$wanted" ]; then
    echo "setup: Rust $found is too old, $wanted or newer is needed. 'rustup update stable' brings it." >&2
    exit 1
fi

if [ "$with_tests" = yes ]; then
    for tool in rustfmt clippy; do
        subcommand=${tool/rustfmt/fmt}
        cargo "$subcommand" --version >/dev/null 2>&1 && continue
        have rustup || { echo "setup: $tool is missing and there is no rustup to install it with." >&2; exit 1; }
        echo "setup: installing $tool"
        rustup component add "$tool"
    done
fi
echo "setup: ready (Rust $found)"
