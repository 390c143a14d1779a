# The image holds one static binary. Stages: dependencies are compiled in their own layer, which is reused until
# Cargo.lock or a manifest changes; then the exporter is compiled with the pinned toolchain. docs/image.md says how it
# is tested.
FROM rust:1.95.0-slim-bookworm AS chef
RUN cargo install cargo-chef --version 0.1.78 --locked
WORKDIR /build

# The manifests, without the sources.
FROM chef AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS build
# Linked statically with Debian's C library and allocator. The C library resolves names, and needs no system file
# except /etc/nsswitch.conf. An explicit target keeps these flags from build scripts.
ENV RUSTFLAGS="-C target-feature=+crt-static"
COPY --from=plan /build/recipe.json recipe.json
RUN cargo chef cook --release --locked --bin delivery-exporter --target "$(rustc --print host-tuple)" --recipe-path recipe.json
COPY . .
ARG REVISION=unknown
ENV DELIVERY_EXPORTER_REVISION=$REVISION
RUN target="$(rustc --print host-tuple)" \
    && cargo build --release --locked --bin delivery-exporter --target "$target" \
    && mkdir -p /out/data \
    && strip --strip-unneeded -o /out/delivery-exporter "target/$target/release/delivery-exporter"

# Certificates of authorities, time zones and the user nonroot (65532); no shell, no package manager.
FROM gcr.io/distroless/static-debian12:nonroot
ARG REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="delivery-exporter" \
      org.opencontainers.image.description="Prometheus and OpenTelemetry exporter for the delivery of push notifications and e-mail" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /out/delivery-exporter /usr/local/bin/delivery-exporter
# The spool is here: mount a volume, because the spool must outlive the container.
COPY --from=build --chown=65532:65532 /out/data /var/lib/delivery-exporter
WORKDIR /var/lib/delivery-exporter
# Ledger and spool, unless the configuration names other places.
ENV DELIVERY_EXPORTER_STORAGE_PATH=/var/lib/delivery-exporter
# A numeric id, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 9847
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/local/bin/delivery-exporter", "health"]
ENTRYPOINT ["/usr/local/bin/delivery-exporter"]
CMD ["--config.file=/etc/delivery-exporter/config.yaml"]
