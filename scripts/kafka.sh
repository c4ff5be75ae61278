#!/usr/bin/env bash
# One Apache Kafka broker (KRaft, one node, loopback) for tests, with settings that make it quick, not safe.
#
#   scripts/kafka.sh DIR PORT CONTROLLER_PORT SASL_PORT [latency]
#
# With `latency` Java has a collector that does not stop the broker, memory that it need not collect all the time, and both
# compilers, and retention and compaction are looked at as often as Kafka does by itself and not twice a second: for what is
# measured. (Kafka's own start script has G1 and 1 GB, which stops it for 15 to 30 ms each second under this load on two cores.)
#
# KAFKA_PROPERTIES names a file with settings that go before those here.
#
# Takes commands on standard input, a line each, and answers each with a line: `start` → `started PID`, `alive` → `alive`
# or `dead`, `kill` (as kill -9) → `killed`. At the end of the input, so also when whoever started it has died, the broker is killed and DIR
# removed. The broker's output is in DIR/kafka.log. SASL_PORT takes user `tester` with password `tester-secret` (PLAIN).
set -euo pipefail
dir=$1 port=$2 controller=$3 sasl=$4 as=${5:-test}
jars=${TRADEFLOW_KAFKA_JARS:-${XDG_CACHE_HOME:-$HOME/.cache}/tradeflow/kafka}
if [ ! -e "$jars/.installed" ]; then
    echo "failed: no Kafka in $jars: run scripts/setup-kafka.sh first"
    exit 1
fi

pid=
end() {
    # What is killed answers with a status of its own: the folder goes all the same.
    if [ -n "$pid" ]; then
        kill -9 "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    fi
    rm -rf "$dir"
}
trap end EXIT
# Ctrl-C goes to the whole process group: the end of the input is what counts.
trap '' INT

mkdir -p "$dir"
cat >"$dir/server.properties" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,SASL_PLAINTEXT://127.0.0.1:$sasl,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port,SASL_PLAINTEXT://127.0.0.1:$sasl
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_tester="tester-secret";
log.dirs=$dir/data
num.partitions=1
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# A broker that was killed is let in again when this is over.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=200
group.min.session.timeout.ms=1000
EOF
if [ "$as" != latency ]; then
    cat >>"$dir/server.properties" <<EOF
log.retention.check.interval.ms=500
log.initial.task.delay.ms=500
log.cleaner.backoff.ms=500
EOF
fi
# Of a setting that stands twice, the later counts.
[ -z "${KAFKA_PROPERTIES:-}" ] || cat "$KAFKA_PROPERTIES" >>"$dir/server.properties"
cat >"$dir/log4j2.properties" <<EOF
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1} %m%n
EOF
if [ "$as" = latency ]; then
    options=(-Xms3g -Xmx3g -XX:+AlwaysPreTouch -XX:+UseZGC)
else
    # The first compiler alone: a broker of a few minutes gains nothing from the second, and starts twice as quick.
    options=(-Xmx384m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC)
fi
java=(java "${options[@]}" "-Dlog4j2.configurationFile=$dir/log4j2.properties" -cp "$jars/*")
if ! "${java[@]}" kafka.tools.StorageTool format -t tradeflowTestsKafkaAA -c "$dir/server.properties" >"$dir/kafka.log" 2>&1; then
    echo "failed: $(tail -n 3 "$dir/kafka.log" | tr '\n' ' ')"
    exit 1
fi

while read -r command; do
    case $command in
        start)
            "${java[@]}" kafka.Kafka "$dir/server.properties" >>"$dir/kafka.log" 2>&1 </dev/null &
            pid=$!
            echo "started $pid"
            ;;
        alive)
            if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then echo alive; else echo dead; fi
            ;;
        kill)
            kill -9 "$pid" 2>/dev/null || true
            wait "$pid" 2>/dev/null || true
            pid=
            echo killed
            ;;
        *) echo "failed: unknown command '$command'" ;;
    esac
done
