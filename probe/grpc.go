package probe

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"riverwatch/uptime"
)

const (
	grpcHealthPath  = "/grpc.health.v1.Health/Check"
	maxGRPCBytes    = 4 << 10 // of an answer, which has 7 bytes
	grpcServing     = 1
	grpcPrefixBytes = 5 // a flag and the length
)

type grpcProtocol struct{}

func (grpcProtocol) mayRepeat(Target) bool { return true } // a health check changes nothing

var grpcService = regexp.MustCompile(`^/[A-Za-z0-9._/-]{1,200}$`)

// rest gives the service to ask for, if there is one.
func (grpcProtocol) rest(u *url.URL) (string, error) {
	service, err := onlyPath(u)
	if err != nil || service == "" || grpcService.MatchString(service) {
		return service, err
	}
	return "", inputError("url_path", "the path must be the name of a gRPC service")
}

// ask asks the standard health service (grpc.health.v1) of a gRPC server for the service in the URL's path, or for
// the whole server. The messages have one field each, so that no gRPC library is needed, which would dial, retry and
// resolve by itself.
func (grpcProtocol) ask(ctx context.Context, a *attempt, target *url.URL) verdict {
	hop := a.newHop(target, false)
	defer hop.record(&a.result)
	location := url.URL{Scheme: "http", Host: target.Host, Path: grpcHealthPath}
	if hop.tls != nil {
		location.Scheme = "https"
	}
	var request []byte // a HealthCheckRequest, whose field 1 is the service
	if service := strings.TrimPrefix(target.Path, "/"); service != "" {
		request = append(binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(service))), service...)
	}
	prefix := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request))) //nolint:gosec // it is short
	body := bytes.NewReader(append(prefix, request...))
	asked, err := http.NewRequestWithContext(ctx, http.MethodPost, location.String(), body)
	if err != nil {
		return unchecked
	}
	a.setHeaders(asked, false)
	asked.Header.Set("Content-Type", "application/grpc")
	asked.Header.Set("Te", "trailers")
	answer, v := a.exchange(ctx, hop, asked, true)
	if answer == nil {
		return v
	}
	defer func() { _ = answer.Body.Close() }()

	if answer.StatusCode < minStatus || answer.StatusCode > maxStatus {
		return misunderstood(answer)
	}
	a.result.HTTPStatus, a.result.HTTPVersion = new(answer.StatusCode), answer.Proto
	hop.enter(inBody)
	said, err := io.ReadAll(io.LimitReader(answer.Body, maxGRPCBytes))
	a.result.BodyBytes = new(int64(len(said)))
	if err != nil {
		return bodyVerdict(ctx, err)
	}
	hop.received()
	if answer.ProtoMajor != 2 || !strings.HasPrefix(answer.Header.Get("Content-Type"), "application/grpc") {
		return verdict{uptime.HTTPMalformed, fmt.Sprintf("the answer is not gRPC, and has the status %d", answer.StatusCode)}
	}
	// An error without a message comes in the header.
	code := cmp.Or(answer.Trailer.Get("Grpc-Status"), answer.Header.Get("Grpc-Status"))
	message := cmp.Or(answer.Trailer.Get("Grpc-Message"), answer.Header.Get("Grpc-Message"))
	found := "the gRPC status " + code + " " + message
	status, ok := grpcHealth(said)
	if code == "0" && ok {
		found = strconv.FormatUint(status, 10)
		if names := []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}; status < uint64(len(names)) {
			found = names[status]
		}
	}
	a.expect(uptime.NotServing, Expected{
		Name: "health", Want: "SERVING", Found: strings.TrimSpace(found), Met: code == "0" && ok && status == grpcServing,
	})
	return a.met(verdict{uptime.OK, ""})
}

// grpcHealth gives field 1 of a HealthCheckResponse, which a server leaves out if it is 0.
func grpcHealth(body []byte) (status uint64, ok bool) {
	if len(body) < grpcPrefixBytes || body[0] != 0 ||
		int64(binary.BigEndian.Uint32(body[1:])) != int64(len(body)-grpcPrefixBytes) {
		return 0, false
	}
	message := body[grpcPrefixBytes:]
	if len(message) == 0 {
		return 0, true
	}
	if message[0] != 1<<3 {
		return 0, false
	}
	status, n := binary.Uvarint(message[1:])
	return status, n > 0
}
