# TradeFlow's image: built on Debian with the Rust of Cargo.toml, run on Debian as a user without rights.
#
#   docker build -t tradeflow:local .
#   docker run --rm -p 127.0.0.1:8080:8080 tradeflow:local        # a demonstration on generated data

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Compiled dependencies are kept between builds, outside the image. Line tables, which are most of the file, are left out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tradeflow \
    && install -D target/release/tradeflow /out/tradeflow \
    && strip --strip-debug /out/tradeflow

FROM debian:bookworm-slim
# librdkafka is in the program; it speaks TLS through OpenSSL. Feeds check certificates with ca-certificates or their own list.
# hadolint ignore=DL3008 # Debian keeps only the newest of a package: a version named here could not be had for long.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/tradeflow tradeflow \
    && install -d -o tradeflow -g tradeflow /var/lib/tradeflow /var/lib/tradeflow/data
COPY --from=build /out/tradeflow /usr/local/bin/tradeflow

USER 10001:10001
# All commands keep what they have in `data` below it.
WORKDIR /var/lib/tradeflow
# Of the container: what is published, and where, is said when it is run.
ENV TRADEFLOW__NODE__LISTEN=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["tradeflow"]
CMD ["serve", "--demo"]
