# The program alone, in an image without a shell: `docker build -t riverwatch .`
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ENV CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false -tags=nomsgpack"
RUN go build -ldflags "-s -w -X main.version=${VERSION}" -o /riverwatch ./cmd/riverwatch \
  && scripts/licences.sh >/THIRD_PARTY_LICENSES

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /riverwatch /THIRD_PARTY_LICENSES /src/LICENSE /
USER 65532:65532
ENTRYPOINT ["/riverwatch"]
CMD ["serve"]
