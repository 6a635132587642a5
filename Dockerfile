# The image of hermod: one static binary, the certificates of the public authorities, two users, and nothing else.
#
#   make image                  # hermod:latest for the architecture of the Docker engine
#   make image ARCH=arm64       # for another one
#   docker build -t hermod .    # without make
#
# Both builders of Docker take it: BuildKit, which makes images for several platforms at once (docker buildx build --platform
# linux/amd64,linux/arm64 .), and the classic one of Docker 20.10, which knows no platforms: there TARGETARCH is the compiler's own
# architecture unless it is given, CLASSIC_PLATFORM names that of the engine where it isn't linux/amd64, and an image for another
# architecture says that it is for the engine's.
#
# It runs as root unless told otherwise, because the Docker socket of a NAS belongs to root and to no group. Root needs one capability,
# and no writable filesystem but its data:
#
#   docker run --cap-drop ALL --cap-add DAC_READ_SEARCH --read-only --security-opt no-new-privileges -v hermod:/var/lib/hermod ... hermod
#
# Where the socket has a group, nobody has to be root:
#
#   docker run --user 65532 --group-add "$(stat -c %g /var/run/docker.sock)" --cap-drop ALL --read-only ... hermod

# Any image with Go 1.26 and /etc/ssl/certs/ca-certificates.crt.
ARG GO_IMAGE=golang:1.26-bookworm
ARG CLASSIC_PLATFORM=linux/amd64

# Go compiles for other architectures, so that nothing is emulated.
FROM --platform=${BUILDPLATFORM:-$CLASSIC_PLATFORM} ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY internal/conntrack/go.mod internal/conntrack/
RUN go mod download
COPY . .

# No defaults here: in BuildKit they would win over the platform that was asked for.
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=devel
# The same source, version and compiler give the same bytes, wherever it is built.
RUN CGO_ENABLED=0 GOOS="${TARGETOS:-linux}" GOARCH="${TARGETARCH:-$(go env GOARCH)}" \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /image/usr/bin/hermod ./cmd/hermod

# What stands around the binary. Its data folder is open to both ways to run it: the user hermod owns it, and root, which without its
# capabilities is a user like others, comes in by its group.
RUN mkdir -p /image/etc/ssl/certs /image/etc/hermod /image/usr/share/doc/hermod /image/var/lib /data/hermod \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && install -m 644 LICENSE /image/usr/share/doc/hermod/ \
 && printf '%s\n' 'root:x:0:0:root:/:/sbin/nologin' 'hermod:x:65532:65532:hermod:/var/lib/hermod:/sbin/nologin' >/image/etc/passwd \
 && printf '%s\n' 'root:x:0:' 'hermod:x:65532:' >/image/etc/group \
 && chmod 0770 /data/hermod

FROM scratch
ARG VERSION=devel
LABEL org.opencontainers.image.title="hermod" \
      org.opencontainers.image.description="One agent per server: metrics and logs of a machine and its containers for Prometheus, Mimir and Loki" \
      org.opencontainers.image.source="https://github.com/hermod-agent/hermod" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /image/ /
COPY --from=build --chown=65532:0 /data/ /var/lib/
# Where agent.listen isn't 127.0.0.1:12345, HERMOD_LISTEN says where to ask.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/bin/hermod", "health"]
ENTRYPOINT ["/usr/bin/hermod"]
# Without a config: the machine's metrics on port 9100. With one: docker run ... hermod run /etc/hermod/agent.hcl
CMD ["run"]
