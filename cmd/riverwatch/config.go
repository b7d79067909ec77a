package main

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/jackc/pgx/v5/pgxpool"

	"riverwatch/egress"
	"riverwatch/history"
	"riverwatch/probe"
)

// config is every setting, read from the environment once.
type config struct {
	DatabaseURL   string         `env:"DATABASE_URL"`
	Listen        netip.AddrPort `env:"RIVERWATCH_LISTEN" envDefault:"127.0.0.1:8080"`
	MetricsListen string         `env:"RIVERWATCH_METRICS_LISTEN" envDefault:"127.0.0.1:9090"`
	Hosts         hosts          `env:"RIVERWATCH_HOSTS"`
	RiverUI       riverUI        `env:"RIVERWATCH_RIVER_UI" envDefault:"write"`
	AllowCIDRs    allowList      `env:"RIVERWATCH_ALLOW_CIDRS"`
	AllowPorts    ports          `env:"RIVERWATCH_ALLOW_PORTS"`
	PrivateWrites bool           `env:"RIVERWATCH_ALLOW_PRIVATE_WRITES" envDefault:"false"`
	RefuseCIDRs   cidrs          `env:"RIVERWATCH_REFUSE_CIDRS"`
	NAT64         nat64          `env:"RIVERWATCH_NAT64_PREFIXES"`
	Resolver      netip.AddrPort `env:"RIVERWATCH_RESOLVER"`
	Contact       string         `env:"RIVERWATCH_CONTACT"`
	MaxBodyBytes  int            `env:"RIVERWATCH_MAX_BODY_BYTES" envDefault:"1048576"`
	BodyMemory    int            `env:"RIVERWATCH_BODY_MEMORY" envDefault:"67108864"`
	Sentinels     []string       `env:"RIVERWATCH_SENTINELS"`
	Probes        int            `env:"RIVERWATCH_PROBES" envDefault:"2000"`
	ProbesPerHost int            `env:"RIVERWATCH_PROBES_PER_HOST" envDefault:"200"`
	RecorderQueue int            `env:"RIVERWATCH_RECORDER_QUEUE" envDefault:"10000"`
	Retries       int            `env:"RIVERWATCH_RETRIES_PER_SECOND" envDefault:"100"`
	DBConnections int            `env:"RIVERWATCH_DB_CONNECTIONS" envDefault:"10"`
	LogChunk      duration       `env:"RIVERWATCH_LOG_CHUNK" envDefault:"6h"`
	KeepScans     duration       `env:"RIVERWATCH_KEEP_SCANS" envDefault:"30d"`
	KeepBytes     byteSize       `env:"RIVERWATCH_KEEP_SCANS_BYTES" envDefault:"50GB"`
	KeepLeast     duration       `env:"RIVERWATCH_KEEP_SCANS_LEAST" envDefault:"48h"`
	KeepHours     duration       `env:"RIVERWATCH_KEEP_HOURS" envDefault:"90d"`
	KeepDays      duration       `env:"RIVERWATCH_KEEP_DAYS" envDefault:"0"`
	LogLevel      slog.Level     `env:"RIVERWATCH_LOG_LEVEL" envDefault:"info"`
	LogFormat     logFormat      `env:"RIVERWATCH_LOG_FORMAT"` // empty: as [program.logger] finds fit

	// OpenTelemetry's own, as far as they say whether there are traces and where these go. The rest the SDK reads itself.
	OTLPEndpoint   string `env:"OTEL_EXPORTER_OTLP_ENDPOINT"`
	TracesEndpoint string `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"`
	TracesExporter string `env:"OTEL_TRACES_EXPORTER"`
	OTelDisabled   string `env:"OTEL_SDK_DISABLED"`

	KubernetesHost string `env:"KUBERNETES_SERVICE_HOST"` // set by Kubernetes in every pod
}

// cidrs is a comma-separated list of address ranges.
type cidrs []netip.Prefix

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *cidrs) UnmarshalText(text []byte) error {
	prefixes, err := egress.ParseCIDRs(string(text))
	*c = prefixes
	return err
}

// allowList is a list of address ranges, some of them for one port.
type allowList struct {
	everywhere []netip.Prefix
	at         []egress.PrefixPort
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *allowList) UnmarshalText(text []byte) (err error) {
	l.everywhere, l.at, err = egress.ParseAllow(string(text))
	return err
}

// ports is a comma-separated list of ports.
type ports []uint16

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *ports) UnmarshalText(text []byte) (err error) {
	*p, err = egress.ParsePorts(string(text))
	return err
}

// nat64 is a comma-separated list of NAT64 prefixes.
type nat64 []netip.Prefix

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *nat64) UnmarshalText(text []byte) (err error) {
	*n, err = egress.ParseNAT64(string(text))
	return err
}

// duration is as time.ParseDuration reads it, or so many days, such as 30d.
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	if days, ok := strings.CutSuffix(string(text), "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return fmt.Errorf("%q is no duration", text)
		}
		*d = duration(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no duration", text)
	}
	*d = duration(parsed)
	return nil
}

// byteSize is a number of bytes, such as 50GB or 500MB.
type byteSize int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *byteSize) UnmarshalText(text []byte) error {
	number, unit := string(text), int64(1)
	for suffix, size := range map[string]int64{"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12} {
		if rest, ok := strings.CutSuffix(string(text), suffix); ok {
			number, unit = rest, size
		}
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no size", text)
	}
	*b = byteSize(n * unit)
	return nil
}

// logFormat is text or json.
type logFormat string

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *logFormat) UnmarshalText(text []byte) error {
	*f = logFormat(text)
	if *f != logText && *f != logJSON {
		return fmt.Errorf("%q is no format of a log", text)
	}
	return nil
}

var (
	_ encoding.TextUnmarshaler = (*logFormat)(nil)
	_ encoding.TextUnmarshaler = (*allowList)(nil)
	_ encoding.TextUnmarshaler = (*hosts)(nil)
	_ encoding.TextUnmarshaler = (*riverUI)(nil)
	_ encoding.TextUnmarshaler = (*ports)(nil)
	_ encoding.TextUnmarshaler = (*nat64)(nil)
	_ encoding.TextUnmarshaler = (*cidrs)(nil)
	_ encoding.TextUnmarshaler = (*duration)(nil)
	_ encoding.TextUnmarshaler = (*byteSize)(nil)
)

// loadConfig reads the settings, and reports all that are wrong at once.
func loadConfig(getenv func(string) string) (config, error) {
	var c config
	params, err := env.GetFieldParams(&c)
	if err != nil {
		return c, fmt.Errorf("list the settings: %w", err)
	}
	environment := map[string]string{} // as far as it is set
	for _, param := range params {
		if value := getenv(param.Key); value != "" {
			environment[param.Key] = value
		}
	}
	errs := parseErrors(env.ParseWithOptions(&c, env.Options{Environment: environment}))
	errs = append(errs, c.check(errs)...)
	return c, errors.Join(errs...)
}

// accepted says what settings of a type may be, where it is not a whole number.
var accepted = map[reflect.Type]string{
	reflect.TypeFor[netip.AddrPort](): "an address and a port, such as 127.0.0.1:8080",
	reflect.TypeFor[cidrs]():          "a comma-separated list such as 10.0.0.0/8,fd00::/8",
	reflect.TypeFor[allowList]():      "a comma-separated list such as 10.0.0.0/8,fd00::/8, or with a port 10.0.0.0/8@8080",
	reflect.TypeFor[hosts]():          "names of hosts without scheme and port, such as riverwatch.example.com",
	reflect.TypeFor[ports]():          "a comma-separated list such as 22,25",
	reflect.TypeFor[nat64]():          "a comma-separated list such as 64:ff9b:1::/96",
	reflect.TypeFor[duration]():       "a duration such as 30d, 6h or 30m",
	reflect.TypeFor[byteSize]():       "a size such as 50GB or 500MB",
	reflect.TypeFor[logFormat]():      "text or json",
	reflect.TypeFor[riverUI]():        "off, read or write",
	reflect.TypeFor[bool]():           "true or false",
	reflect.TypeFor[slog.Level]():     "debug, info, warn or error",
}

// parseErrors names each setting that cannot be read by its variable.
func parseErrors(err error) (errs []error) {
	var aggregate env.AggregateError
	if !errors.As(err, &aggregate) {
		return nil
	}
	for _, one := range aggregate.Errors {
		var parse env.ParseError
		if !errors.As(one, &parse) {
			errs = append(errs, one)
			continue
		}
		field, _ := reflect.TypeFor[config]().FieldByName(parse.Name)
		errs = append(errs, fmt.Errorf("%s: %w (accepted is %s)",
			field.Tag.Get("env"), parse.Err, cmp.Or(accepted[field.Type], "a whole number")))
	}
	return errs
}

// check finds values that can be read but not used. What failed to parse is 0, and reported already.
func (c config) check(parseErrors []error) (errs []error) {
	if c.DatabaseURL == "" {
		errs = append(errs, errors.New("DATABASE_URL: is required, such as postgres://user:password@host:5432/riverwatch"))
	} else if _, err := pgxpool.ParseConfig(c.DatabaseURL); err != nil {
		errs = append(errs, errors.New("DATABASE_URL: accepted is a Postgres URL such as postgres://user:password@host:5432/riverwatch"))
	}
	if len(parseErrors) > 0 {
		return errs
	}
	within := func(name string, value, low, high int) {
		if value < low || value > high {
			errs = append(errs, fmt.Errorf("%s: %d: accepted is %d to %d", name, value, low, high))
		}
	}
	within("RIVERWATCH_PROBES", c.Probes, 1, 100_000)
	within("RIVERWATCH_PROBES_PER_HOST", c.ProbesPerHost, 1, 100_000)
	within("RIVERWATCH_RECORDER_QUEUE", c.RecorderQueue, 100, 1_000_000)
	within("RIVERWATCH_RETRIES_PER_SECOND", c.Retries, 0, 10_000)
	within("RIVERWATCH_DB_CONNECTIONS", c.DBConnections, 4, 1000)
	within("RIVERWATCH_MAX_BODY_BYTES", c.MaxBodyBytes, 1<<10, 8<<20)
	within("RIVERWATCH_BODY_MEMORY", c.BodyMemory, 8<<20, 1<<40)
	if probe.CheckHeader("User-Agent", c.Contact) != nil {
		errs = append(errs, errors.New("RIVERWATCH_CONTACT: accepted is a URL or an e-mail address, for the header User-Agent"))
	}
	if _, err := netip.ParseAddrPort(c.MetricsListen); err != nil && c.MetricsListen != "off" {
		errs = append(errs, fmt.Errorf("RIVERWATCH_METRICS_LISTEN: %q: accepted is an address and a port such as %s, or off",
			c.MetricsListen, defaultMetricsListen))
	}
	if endpoint := c.tracesEndpoint(); endpoint != "" {
		parsed, err := url.Parse(endpoint)
		if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" {
			errs = append(errs, errors.New("OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "+
				"accepted is a URL of OTLP over HTTP such as http://127.0.0.1:4318"))
		}
	}
	if chunk := time.Duration(c.LogChunk); chunk < time.Hour || chunk > 30*24*time.Hour {
		errs = append(errs, fmt.Errorf("RIVERWATCH_LOG_CHUNK: %s: accepted is 1h to 720h", chunk))
	}
	const day, longest = 24 * time.Hour, 100 * 365 * 24 * time.Hour
	for _, keep := range []struct {
		name            string
		value           duration
		shortest        time.Duration
		forEver         bool // 0 is
		shortestInWords string
	}{
		{"RIVERWATCH_KEEP_SCANS", c.KeepScans, 2 * day, false, "48h"},
		{"RIVERWATCH_KEEP_SCANS_LEAST", c.KeepLeast, 6 * time.Hour, false, "6h"},
		{"RIVERWATCH_KEEP_HOURS", c.KeepHours, 2 * day, false, "48h"},
		{"RIVERWATCH_KEEP_DAYS", c.KeepDays, 90 * day, true, "0 (for ever), or 90d"},
	} {
		value := time.Duration(keep.value)
		if (value < keep.shortest || value > longest) && (value != 0 || !keep.forEver) {
			errs = append(errs, fmt.Errorf("%s: %s: accepted is %s to 36500d", keep.name, value, keep.shortestInWords))
		}
	}
	if c.KeepBytes < 100e6 {
		errs = append(errs, fmt.Errorf("RIVERWATCH_KEEP_SCANS_BYTES: %d: accepted is 100MB or more", c.KeepBytes))
	}
	return errs
}

// keep is what is kept of the past.
func (c config) keep() history.Keep {
	return history.Keep{
		Scans: time.Duration(c.KeepScans), ScansBytes: int64(c.KeepBytes), Least: time.Duration(c.KeepLeast),
		Hours: time.Duration(c.KeepHours), Days: time.Duration(c.KeepDays),
	}
}

// probeSettings are what the operator sets of all probes.
func (c config) probeSettings(policy egress.Policy) probe.Settings {
	return probe.Settings{
		Policy: policy, MaxBodyBytes: int64(c.MaxBodyBytes), BodyMemory: c.BodyMemory, Resolver: c.Resolver,
		Contact: c.Contact,
	}
}

// memoryLimit is beyond what a process that scans needs, whatever its targets do: while more than that is in use, garbage
// is collected sooner, where it would else be let grow to as much as what is in use. At its ordinary work, with 50 MiB or
// so, a process never comes near. GOMEMLIMIT goes before it.
func (c config) memoryLimit() int64 {
	const other, eachProbe = 96 << 20, 64 << 10
	return int64(other + c.BodyMemory + c.Probes*eachProbe)
}

// sentinels are the URLs whose answers show that this process sees the network.
func (c config) sentinels(policy egress.Policy) (sentinels []string, err error) {
	for _, raw := range c.Sentinels {
		sentinel, badURL := probe.NormalizeURL(strings.TrimSpace(raw), policy)
		if badURL != nil {
			err = errors.Join(err, fmt.Errorf("RIVERWATCH_SENTINELS: %q: %w", raw, badURL))
		}
		sentinels = append(sentinels, sentinel)
	}
	return sentinels, err
}

// defaultMetricsListen is where several processes of one machine would meet.
const defaultMetricsListen = "127.0.0.1:9090"
