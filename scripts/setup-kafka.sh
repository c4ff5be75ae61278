#!/usr/bin/env bash
# Fetches Apache Kafka for the tests: a Java runtime and Maven where they are missing (apt-get, through sudo when not
# root), and the jars of tests/kafka/pom.xml into ~/.cache/tradeflow/kafka (or $TRADEFLOW_KAFKA_JARS; about 43 MB).
# Prints that folder on the last line. What is there is kept while the pom is the same.
#
# Nothing is fetched when TRADEFLOW_KAFKA names a server of yours (host:port) or is `none`.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jars=${TRADEFLOW_KAFKA_JARS:-${XDG_CACHE_HOME:-$HOME/.cache}/tradeflow/kafka}

have() { command -v "$1" >/dev/null 2>&1; }

if [ -n "${TRADEFLOW_KAFKA:-}" ]; then
    echo "setup-kafka: TRADEFLOW_KAFKA=$TRADEFLOW_KAFKA, nothing to fetch" >&2
    exit 0
fi

wanted=$(sha256sum <"$root/tests/kafka/pom.xml")
up_to_date=no
[ "$(cat "$jars/.installed" 2>/dev/null)" = "$wanted" ] && up_to_date=yes

packages=()
# Kafka 4 needs Java 17 or newer.
java_major() { java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n1; }
if ! have java || [ "$(java_major)" -lt 17 ]; then packages+=(default-jre-headless); fi
if [ "$up_to_date" = no ] && ! have mvn; then packages+=(maven); fi
if [ ${#packages[@]} -gt 0 ]; then
    echo "setup-kafka: installing ${packages[*]}" >&2
    if ! have apt-get; then
        echo "setup-kafka: no apt-get on this machine. Install Java 17 or newer and Maven, then run again." >&2
        exit 1
    fi
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || { echo "setup-kafka: not root and no sudo. Have an administrator run: apt-get install ${packages[*]}" >&2; exit 1; }
        as_root=(sudo)
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q update </dev/null >&2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${packages[@]}" </dev/null >&2
    if [ "$(java_major)" -lt 17 ]; then
        echo "setup-kafka: Java $(java_major) is too old for Kafka 4: install Java 17 or newer, then run again." >&2
        exit 1
    fi
fi

if [ "$up_to_date" = no ]; then
    echo "setup-kafka: fetching Apache Kafka into $jars" >&2
    mkdir -p "$(dirname "$jars")"
    # Beside its place first: a fetch that was cut short, or two at once, leave no half a folder.
    fresh=$(mktemp -d "$jars.XXXXXX")
    trap 'rm -rf "$fresh"' EXIT
    (cd "$root/tests/kafka" && mvn -q -B dependency:copy-dependencies -DoutputDirectory="$fresh" </dev/null >&2)
    echo "$wanted" >"$fresh/.installed"
    chmod 755 "$fresh"
    rm -rf "$jars"
    mv -T "$fresh" "$jars" 2>/dev/null || [ "$(cat "$jars/.installed" 2>/dev/null)" = "$wanted" ]
else
    echo "setup-kafka: $jars is up to date" >&2
fi
echo "$jars"
