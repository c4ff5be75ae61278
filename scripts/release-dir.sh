#!/usr/bin/env bash
# Prints the folder of the release build: cargo knows where, whatever CARGO_TARGET_DIR or a cargo configuration say.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$(cargo metadata --no-deps --offline --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
[ -n "$target" ] || { echo "release-dir: cargo metadata names no target directory" >&2; exit 1; }
echo "$target/release"
