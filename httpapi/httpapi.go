// Package httpapi is the JSON API: monitors, their scans, and the health of this process. Its OpenAPI document is made
// from the same structs that decode requests and encode answers.
package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/semaphore"

	"riverwatch/egress"
	"riverwatch/history"
	"riverwatch/monitors"
	"riverwatch/queue"
	"riverwatch/uptime"
)

const (
	// A request waits for the database so long. A caller is told within 3 s that it is away.
	requestTimeout = 2500 * time.Millisecond
	answerTimeout  = 400 * time.Millisecond // and so long to be told which of the two it was
	// A request that has much to write or to wait for may take longer, but less than the server's WriteTimeout.
	longRequestTimeout = 25 * time.Second

	maxBody     = 64 << 10 // bytes, for one monitor
	maxBulkBody = 4 << 20  // bytes, for 1,000 monitors
	mostBulks   = 2        // at a time; others wait
	mostPages   = 2        // of exports that are read at a time; others wait
)

// Config is what the API works with.
type Config struct {
	Pool    *pgxpool.Pool
	Queue   queue.Queue   // inserts jobs
	Policy  egress.Policy // which targets a monitor may have
	Keep    history.Keep  // what is kept of the past
	Version string        // of the program, for the OpenAPI document
	Now     func() time.Time
	Logger  *slog.Logger
	Traces  trace.TracerProvider // nil: none
}

type api struct {
	Config
	huma     huma.API
	monitors *monitors.Store
	targets  *targets
	bulks    *semaphore.Weighted // bulk bodies, which become many times as large when they are decoded

	summaries summaries
	pages     *semaphore.Weighted // of exports, which leave most of the database to others
}

// New makes the handler of every path of the API, its documentation at /docs and its health at /livez and /readyz.
func New(config Config) http.Handler {
	setUpLibraries()

	router := newRouter(config.Logger, config.Traces)
	document := huma.DefaultConfig("Riverwatch", config.Version)
	document.Info.Description = "Watches URLs: on time, from as many workers as it takes, each result a row in your Postgres."
	document.DocsPath, document.SchemasPath = "", "" // served by docs.go; schemas are in the document
	document.CreateHooks = nil                       // no $schema member in answers
	document.RejectUnknownQueryParameters = true
	a := &api{
		Config: config, huma: humagin.New(router, document),
		monitors: &monitors.Store{Conn: config.Pool, Queue: config.Queue},
		targets:  newTargets(config.Pool, config.Now),
		bulks:    semaphore.NewWeighted(mostBulks),
		pages:    semaphore.NewWeighted(mostPages),
	}
	a.addRoutes()
	a.mendDocument()
	addDocs(router)
	return headAsGet(router)
}

// addRoutes lists every route.
func (a *api) addRoutes() {
	const collection, monitor = "/api/v1/monitors", "/api/v1/monitors/{id}"
	ofMonitors, ofHistory, ofHealth := resource{"Monitors", "monitor"}, resource{"History", "monitor"}, resource{tag: "Health"}
	ofTargets := resource{tag: "Targets"}

	handle(a, ofMonitors.operation(http.MethodPost, collection, "create-monitor", "Create a monitor", createMonitorDoc).
		accepts(a, monitorCreateSchema).created().fails(http.StatusConflict), a.createMonitor)
	handle(a, ofMonitors.operation(http.MethodGet, collection, "list-monitors", "List monitors", listMonitorsDoc), a.listMonitors)
	handle(a, ofMonitors.operation(http.MethodPost, collection+"/bulk", "create-monitors", "Create many monitors", bulkDoc).
		accepts(a, bulkSchema).within(longRequestTimeout), a.createMonitors)
	handle(a, ofMonitors.operation(http.MethodGet, monitor, "get-monitor", "Get a monitor", getMonitorDoc).
		mayMiss(), a.getMonitor)
	handle(a, ofMonitors.operation(http.MethodPatch, monitor, "edit-monitor", "Change a monitor", editMonitorDoc).
		accepts(a, monitorPatchSchema).mayMiss().fails(http.StatusConflict), a.editMonitor)
	handle(a, ofMonitors.operation(http.MethodDelete, monitor, "delete-monitor", "Delete a monitor", deleteMonitorDoc).
		mayMiss(), a.deleteMonitor)
	handle(a, ofMonitors.operation(http.MethodPost, monitor+"/pause", "pause-monitor", "Pause a monitor", pauseMonitorDoc).
		mayMiss(), a.pauseMonitor)
	handle(a, ofMonitors.operation(http.MethodPost, monitor+"/resume", "resume-monitor", "Resume a monitor", resumeMonitorDoc).
		mayMiss(), a.resumeMonitor)
	handle(a, ofMonitors.operation(http.MethodPost, monitor+"/scan", "scan-monitor", "Scan a monitor now", scanMonitorDoc).
		mayMiss().fails(http.StatusTooManyRequests).within(longRequestTimeout), a.scanMonitor)
	handle(a, ofMonitors.operation(http.MethodGet, monitor+"/scans", "list-scans", "List a monitor's scans", listScansDoc).
		mayMiss(), a.listScans)
	handle(a, ofMonitors.operation(http.MethodGet, monitor+"/certificates", "list-certificates", "List a monitor's certificates",
		listCertificatesDoc).mayMiss(), a.listCertificates)

	handle(a, ofHistory.operation(http.MethodGet, monitor+"/latency", "get-latency", "How long a monitor's scans took", getLatencyDoc).
		mayMiss(), a.getLatency)
	handle(a, ofHistory.operation(http.MethodGet, monitor+"/uptime", "get-uptime", "How a monitor's time counts", getUptimeDoc).
		mayMiss(), a.getUptime)
	handle(a, ofHistory.operation(http.MethodGet, "/api/v1/summary", "get-summary", "All monitors at a glance", getSummaryDoc), a.getSummary)
	for _, as := range formats() {
		id, what := as.name, strings.ToUpper(as.name)
		handle(a, ofHistory.operation(http.MethodGet, monitor+"/scans."+id, "export-scans-of-monitor-"+id, "A monitor's scans as "+what,
			exportMonitorDoc+exportDoc+as.doc).streams(a, as, reflect.TypeFor[exportedScan]()).mayMiss(), a.exportMonitor(as))
		handle(a, ofHistory.operation(http.MethodGet, "/api/v1/export/scans."+id, "export-scans-"+id, "Scans of many monitors as "+what,
			exportAllDoc+exportDoc+as.doc).streams(a, as, reflect.TypeFor[exportedMonitorScan]()), a.exportAll(as))
	}
	handle(a, ofHistory.operation(http.MethodGet, "/api/v1/storage", "get-storage", "What is kept", getStorageDoc), a.getStorage)

	handle(a, ofHealth.operation(http.MethodGet, "/api/v1/warnings", "list-warnings", "List warnings", listWarningsDoc), a.listWarnings)

	handle(a, ofTargets.operation(http.MethodGet, "/targets/metrics", "target-metrics", "Targets, for Prometheus", targetsDoc).
		answers(targetsAnswer()).within(targetsTimeout), a.targetMetrics)

	handle(a, ofHealth.operation(http.MethodGet, "/livez", "livez", "Is this process alive?", livezDoc), a.livez)
	handle(a, ofHealth.operation(http.MethodGet, "/readyz", "readyz", "Can this process serve?", readyzDoc), a.readyz)
}

// mendDocument says what huma cannot know: that input is refused with 400, where it would give 422, and that an answer has
// every field, also those that a request may leave out.
func (a *api) mendDocument() {
	document := a.huma.OpenAPI()
	for _, path := range document.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Post, path.Patch, path.Delete} {
			if op != nil {
				delete(op.Responses, strconv.Itoa(http.StatusUnprocessableEntity))
			}
		}
	}
	shown := document.Components.Schemas.Map()["MonitorBody"]
	shown.Required = slices.DeleteFunc(slices.Sorted(maps.Keys(shown.Properties)), func(name string) bool { return name == "past" })
	for _, name := range neverNull() {
		property := *shown.Properties[name]
		property.Nullable = false
		if values, ok := property.AdditionalProperties.(*huma.Schema); ok { // null removes one, and is not shown
			values := *values
			values.Nullable = false
			property.AdditionalProperties = &values
		}
		shown.Properties[name] = &property
	}
}

// neverNull gives the members of a monitor that are there even if nothing is said of it.
func neverNull() (names []string) {
	monitor := monitors.New()
	monitor.PausedAt = &time.Time{}
	var members map[string]jsontext.Value
	raw, err := json.Marshal(newMonitorBody(monitor, uptime.State{}, time.Time{}))
	if err = errors.Join(err, json.Unmarshal(raw, &members)); err != nil {
		panic(err) // of what is all ours
	}
	for name, value := range members {
		if value.Kind() != 'n' {
			names = append(names, name)
		}
	}
	return names
}

// setUpLibraries sets what huma and gin keep in variables of their packages, once: every problem is one of ours, and a
// name in another case is another name.
var setUpLibraries = sync.OnceFunc(func() {
	gin.SetMode(gin.ReleaseMode)
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
	huma.NewError = newProblem
})

// route is an operation and how long it may take.
type route struct {
	huma.Operation

	of      resource
	timeout time.Duration
}

// resource is what routes are about.
type resource struct {
	tag  string // of its part of the documentation
	noun string // what may be missing
}

func (of resource) operation(method, path, id, summary, description string) route {
	return route{of: of, timeout: requestTimeout, Operation: huma.Operation{
		Method: method, Path: path, OperationID: id, Summary: summary, Description: description, Tags: []string{of.tag},
		Errors: []int{http.StatusBadRequest, http.StatusServiceUnavailable},
	}}
}

// mayMiss: what the path names may not be there.
func (r route) mayMiss() route { return r.fails(http.StatusNotFound) }

// fails says with which other statuses the operation may fail.
func (r route) fails(statuses ...int) route {
	r.Errors = append(r.Errors, statuses...)
	return r
}

// accepts says which body the operation takes. It is decoded by its handler, more strictly than huma would.
func (r route) accepts(a *api, body bodySchema) route {
	r.Errors = append(r.Errors, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	r.SkipValidateBody = true
	r.MaxBodyBytes = body.maxBytes + 1 // huma refuses a body of just as many bytes
	r.RequestBody = &huma.RequestBody{
		Required: true,
		Content: map[string]*huma.MediaType{
			"application/json": {Schema: body.in(a.huma.OpenAPI().Components.Schemas)},
		},
	}
	return r
}

// streams says what the operation answers: rows of a type, as lines of a format.
func (r route) streams(a *api, as format, row reflect.Type) route {
	schema := &huma.Schema{Type: huma.TypeString}
	if as.schema {
		schema = a.huma.OpenAPI().Components.Schemas.Schema(row, true, "")
	}
	r.Responses = map[string]*huma.Response{
		strconv.Itoa(http.StatusOK): {
			Description: "A line for each scan.", Content: map[string]*huma.MediaType{as.contentType: {Schema: schema}},
		},
	}
	return r
}

// created: the operation answers 201.
func (r route) created() route {
	r.DefaultStatus = http.StatusCreated
	return r
}

// answers describes answers that are no JSON.
func (r route) answers(responses map[string]*huma.Response) route {
	r.Responses = responses
	return r
}

func (r route) within(timeout time.Duration) route {
	r.timeout = timeout
	return r
}

// handle registers a handler, bounds it in time, and turns its error into a problem.
func handle[I, O any](a *api, r route, handler func(context.Context, *I) (*O, error)) {
	huma.Register(a.huma, r.Operation, func(ctx context.Context, in *I) (*O, error) {
		ctx, cancel := context.WithTimeout(ctx, r.timeout)
		defer cancel()
		out, err := handler(ctx, in)
		if err != nil {
			return nil, a.problem(ctx, r, err)
		}
		return out, nil
	})
}
