package httpapi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/contrib/instrumentation/github.com/gin-gonic/gin/otelgin"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// newRouter makes the router with what holds for every route.
func newRouter(logger *slog.Logger, traces trace.TracerProvider) *gin.Engine {
	router := gin.New()
	router.HandleMethodNotAllowed = true
	router.RedirectTrailingSlash = false
	_ = router.SetTrustedProxies(nil) // fails on a bad address only
	router.Use(cutShort)
	if traces != nil {
		router.Use(traceCalls(traces))
	}
	router.Use(
		gin.CustomRecoveryWithWriter(io.Discard, recovered(logger)),
		func(c *gin.Context) { c.Header("Cache-Control", "no-store") },
		requireJSON,
	)
	router.NoRoute(func(c *gin.Context) {
		abort(c, problemOf(http.StatusNotFound, "not_found", "Nothing is here. /docs lists what is."))
	})
	router.NoMethod(func(c *gin.Context) {
		abort(c, problemOf(http.StatusMethodNotAllowed, "method_not_allowed", "This path does not take this method. /docs lists those it does."))
	})
	return router
}

// traceCalls makes a span of each API call, as part of its caller's trace if it names one. Health and documentation have
// none. It comes before what recovers from panics, lest it miss the answer of 500.
func traceCalls(traces trace.TracerProvider) gin.HandlerFunc {
	return otelgin.Middleware("",
		otelgin.WithTracerProvider(traces),
		otelgin.WithMeterProvider(noop.NewMeterProvider()), // our metrics are Prometheus's
		otelgin.WithPropagators(propagation.TraceContext{}),
		otelgin.WithFilter(func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/api/") }),
	)
}

func recovered(logger *slog.Logger) gin.RecoveryFunc {
	return func(c *gin.Context, cause any) {
		logger.ErrorContext(c.Request.Context(), "panic in a request", slog.String("path", c.FullPath()),
			slog.Any("panic", cause), slog.String("stack", string(debug.Stack())))
		if c.Writer.Written() { // too late for another answer
			_ = c.Error(http.ErrAbortHandler)
			return
		}
		abort(c, internalError())
	}
}

// cutShort cuts the connection of an answer that broke off, which else would end as one does that is whole: what recovers from
// panics keeps http.ErrAbortHandler from the server.
func cutShort(c *gin.Context) {
	c.Next()
	if last := c.Errors.Last(); last != nil && errors.Is(last, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler)
	}
}

// requireJSON refuses a body of another type. A form on a stranger's page cannot send JSON, so that this also keeps
// browsers from being used against us.
func requireJSON(c *gin.Context) {
	r := c.Request
	hasBody := r.ContentLength != 0
	if encoding := r.Header.Get("Content-Encoding"); hasBody && encoding != "" {
		abort(c, problemOf(http.StatusUnsupportedMediaType, "media_type", "A body is not to be compressed."))
		return
	}
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if hasBody && (err != nil || mediaType != "application/json") {
		abort(c, problemOf(http.StatusUnsupportedMediaType, "media_type", "A body must be of Content-Type application/json."))
		return
	}
	c.Next()
}

// abort answers a problem outside huma.
func abort(c *gin.Context, problem *Problem) {
	c.Header("Content-Type", problem.ContentType("application/json"))
	c.AbortWithStatusJSON(problem.Status, problem)
}

// isHead is the key of what says, in a request's context, that it was HEAD.
type isHead struct{}

// headAsGet answers HEAD wherever GET is answered. The server leaves the body out by itself.
func headAsGet(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			r = r.Clone(context.WithValue(r.Context(), isHead{}, true))
			r.Method = http.MethodGet
		}
		next.ServeHTTP(w, r)
	})
}
