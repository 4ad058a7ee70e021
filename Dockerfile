# Palisade in a container: `docker build -t palisade .`, with BuildKit or without. See docker-compose.yml.

# Both of the same Debian: what is built uses the C library of the system that it runs on.
ARG BUILD_IMAGE=rust:1.95-slim-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
# A binary that was built already, as a path in this directory; empty: it is compiled here.
ARG BINARY=
WORKDIR /src
RUN { [ -n "$BINARY" ] || command -v cc; } && command -v setcap || { apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libcap2-bin && rm -rf /var/lib/apt/lists/*; }
# Dependencies first, so that they are compiled again only when they change.
COPY Cargo.toml Cargo.lock ./
RUN [ -n "$BINARY" ] || { mkdir -p src tests bench \
    && echo 'fn main() {}' | tee build.rs src/main.rs tests/main.rs bench/parse.rs > src/lib.rs \
    && cargo build --release --locked && rm -r build.rs src; }
COPY . .
RUN if [ -z "$BINARY" ]; then touch build.rs src/*.rs && cargo build --release --locked \
    && strip target/release/palisade && BINARY=target/release/palisade; fi \
    && cp "$BINARY" /palisade && chmod 755 /palisade \
    # The one thing that blocking takes, for whoever starts it; without it there is a dry run.
    && setcap cap_net_admin+p /palisade

FROM ${BASE_IMAGE}
RUN { command -v nft && command -v setcap && [ -e /etc/ssl/certs/ca-certificates.crt ]; } >/dev/null || { apt-get update \
    && apt-get install -y --no-install-recommends nftables ca-certificates libcap2-bin && rm -rf /var/lib/apt/lists/*; }
RUN groupadd --gid 10001 palisade \
    && useradd --uid 10001 --gid palisade --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin palisade \
    && install -d -o palisade -g palisade -m 700 /var/lib/palisade \
    && install -d -o palisade -g palisade -m 750 /run/palisade
COPY --from=build /palisade /usr/local/bin/palisade
# The builder without BuildKit copies no capabilities.
RUN getcap /usr/local/bin/palisade | grep -q cap_net_admin || setcap cap_net_admin+p /usr/local/bin/palisade
ENV XDG_STATE_HOME=/var/lib XDG_RUNTIME_DIR=/run/palisade
USER 10001:10001
VOLUME /var/lib/palisade
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s CMD ["palisade", "ping"]
CMD ["palisade", "run"]
