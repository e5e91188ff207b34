# Two images: `meshgate`, the control plane and its client, and `sidecar`, which has Envoy beside it.
#
#   docker build --target meshgate -t meshgate .
#   docker build --target sidecar -t meshgate-sidecar .
#
# Needs no BuildKit. Nothing here depends on the processor: amd64 and arm64 build alike.

FROM rust:1.95.0-bookworm AS build
# `dev` is built in a fraction of the time, and slower to run.
ARG PROFILE=release
WORKDIR /meshgate

# The crates alone, so that their layer stays as long as they do. Where the build reaches no registry, a folder `vendor` has
# them (`cargo vendor --locked --versioned-dirs`); the lock file beside it is there because a pattern may not match nothing.
COPY Cargo.lock vendo[r] vendor/
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto/
# Nothing is left to be linked where it runs. A target that is named keeps the flag away from build scripts and macros.
RUN mkdir -p .cargo src benches /empty && touch src/lib.rs && echo 'fn main() {}' | tee benches/micro.rs >src/main.rs \
    && printf '[build]\ntarget = "host-tuple"\nrustflags = ["-C", "target-feature=+crt-static"]\n' >.cargo/config.toml \
    && if ls vendor/*/Cargo.toml >/dev/null 2>&1; then printf '%s\n' '[net]' 'offline = true' \
        '[source.crates-io]' 'replace-with = "vendored"' '[source.vendored]' 'directory = "vendor"' >>.cargo/config.toml; fi \
    && cargo build --locked --bin meshgate --profile "$PROFILE"

COPY src src/
# What was made on the way would be kept with every version of the sources.
RUN touch src/main.rs src/lib.rs && cargo build --locked --bin meshgate --profile "$PROFILE" \
    && strip --strip-debug -o meshgate target/*/*/meshgate && rm -r target

FROM scratch AS meshgate
COPY --from=build /meshgate/meshgate /usr/local/bin/
# For control planes that are reached over TLS with a certificate that everybody knows.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /empty /var/lib/meshgate/
ENV PATH=/usr/local/bin
USER 65532:65532
VOLUME /var/lib/meshgate
# HTTP API, xDS, xDS over TLS.
EXPOSE 8500 8502 8503
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["meshgate", "ready"]
ENTRYPOINT ["meshgate"]
CMD ["agent", "-data-dir", "/var/lib/meshgate", "-client", "0.0.0.0"]

FROM envoyproxy/envoy:v1.40.0 AS sidecar
COPY --from=build /meshgate/meshgate /usr/local/bin/
# The user that the image of Envoy has.
USER 101:101
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["meshgate", "ready", "-envoy", "127.0.0.1:19000"]
ENTRYPOINT ["meshgate", "connect", "envoy"]
