# Two stages: a build with the pinned toolchain, and an image that holds the binary alone.
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build
COPY . .
ARG REVISION=unknown
ENV DELIVERY_EXPORTER_REVISION=$REVISION
RUN cargo build --release --locked --bin delivery-exporter \
    && mkdir -p /out/etc/delivery-exporter /out/var/lib/delivery-exporter \
    && cp target/release/delivery-exporter /out/

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/delivery-exporter /usr/local/bin/delivery-exporter
# The spool lies here: mount a volume, it has to outlive the container.
COPY --from=build --chown=nonroot:nonroot /out/var/lib/delivery-exporter /var/lib/delivery-exporter
WORKDIR /var/lib/delivery-exporter
# Ledger and spool, unless the configuration names other places.
ENV DELIVERY_EXPORTER_STORAGE_PATH=/var/lib/delivery-exporter
EXPOSE 9847
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/local/bin/delivery-exporter", "health"]
ENTRYPOINT ["/usr/local/bin/delivery-exporter"]
CMD ["--config.file=/etc/delivery-exporter/config.yaml"]
