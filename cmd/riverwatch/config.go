package main

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"strconv"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/jackc/pgx/v5/pgxpool"

	"riverwatch/probe"
)

// config is every setting, read from the environment once.
type config struct {
	DatabaseURL   string         `env:"DATABASE_URL"`
	Listen        netip.AddrPort `env:"RIVERWATCH_LISTEN" envDefault:"127.0.0.1:8080"`
	AllowCIDRs    cidrs          `env:"RIVERWATCH_ALLOW_CIDRS"`
	Probes        int            `env:"RIVERWATCH_PROBES" envDefault:"2000"`
	ProbesPerHost int            `env:"RIVERWATCH_PROBES_PER_HOST" envDefault:"200"`
	DBConnections int            `env:"RIVERWATCH_DB_CONNECTIONS" envDefault:"10"`
	LogChunk      duration       `env:"RIVERWATCH_LOG_CHUNK" envDefault:"6h"`
	LogLevel      slog.Level     `env:"RIVERWATCH_LOG_LEVEL" envDefault:"info"`

	KubernetesHost string `env:"KUBERNETES_SERVICE_HOST"` // set by Kubernetes in every pod
}

// cidrs is a comma-separated list of address ranges.
type cidrs []netip.Prefix

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *cidrs) UnmarshalText(text []byte) error {
	prefixes, err := probe.ParseCIDRs(string(text))
	*c = prefixes
	return err
}

// duration is as time.ParseDuration reads it.
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no duration", text)
	}
	*d = duration(parsed)
	return nil
}

var (
	_ encoding.TextUnmarshaler = (*cidrs)(nil)
	_ encoding.TextUnmarshaler = (*duration)(nil)
)

// loadConfig reads the settings, and reports all that are wrong at once.
func loadConfig(getenv func(string) string) (config, error) {
	var c config
	environment, err := environmentOf(&c, getenv)
	if err != nil {
		return c, err
	}
	errs := parseErrors(env.ParseWithOptions(&c, env.Options{Environment: environment}))
	errs = append(errs, c.check(errs)...)
	return c, errors.Join(errs...)
}

// environmentOf gives the variables that c names, as far as they are set.
func environmentOf(c *config, getenv func(string) string) (map[string]string, error) {
	params, err := env.GetFieldParams(c)
	if err != nil {
		return nil, fmt.Errorf("list the settings: %w", err)
	}
	environment := map[string]string{}
	for _, param := range params {
		if value := getenv(param.Key); value != "" {
			environment[param.Key] = value
		}
	}
	return environment, nil
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
		errs = append(errs, fmt.Errorf("%s: %w (%s)", field.Tag.Get("env"), parse.Err, accepted(field.Type)))
	}
	return errs
}

func accepted(fieldType reflect.Type) string {
	switch fieldType {
	case reflect.TypeFor[netip.AddrPort]():
		return "accepted is an address and a port, such as 127.0.0.1:8080"
	case reflect.TypeFor[cidrs]():
		return "accepted is a comma-separated list such as 10.0.0.0/8,fd00::/8"
	case reflect.TypeFor[duration]():
		return "accepted is a duration such as 6h or 30m"
	case reflect.TypeFor[slog.Level]():
		return "accepted is debug, info, warn or error"
	default:
		return "accepted is a whole number"
	}
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
	within("RIVERWATCH_DB_CONNECTIONS", c.DBConnections, 4, 1000)
	if chunk := time.Duration(c.LogChunk); chunk < time.Hour || chunk > 30*24*time.Hour {
		errs = append(errs, fmt.Errorf("RIVERWATCH_LOG_CHUNK: %s: accepted is 1h to 720h", chunk))
	}
	return errs
}

// policy gives the addresses that monitors may have: what the operator allows, less the API's, the database's, and
// those of Kubernetes.
func (c config) policy(ctx context.Context, api netip.AddrPort) (probe.Policy, error) {
	refuse, err := ownAddresses(api)
	if err != nil {
		return probe.Policy{}, err
	}
	database, err := pgxpool.ParseConfig(c.DatabaseURL)
	if err != nil {
		return probe.Policy{}, fmt.Errorf("parse DATABASE_URL: %w", err)
	}
	refuse = append(refuse, resolve(ctx, database.ConnConfig.Host, database.ConnConfig.Port)...)
	for _, fallback := range database.ConnConfig.Fallbacks {
		refuse = append(refuse, resolve(ctx, fallback.Host, fallback.Port)...)
	}
	if c.KubernetesHost != "" {
		refuse = append(refuse, resolve(ctx, c.KubernetesHost, 0)...)
	}
	return probe.Policy{Allow: c.AllowCIDRs, Refuse: refuse}, nil
}

// ownAddresses gives the addresses at which a listener is reached.
func ownAddresses(listen netip.AddrPort) ([]netip.AddrPort, error) {
	if listen.Port() == 0 { // any free port, and nothing listens yet
		return nil, nil
	}
	if !listen.Addr().IsUnspecified() {
		return []netip.AddrPort{listen}, nil
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this machine's addresses: %w", err)
	}
	var own []netip.AddrPort
	for _, address := range interfaces {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil {
			own = append(own, netip.AddrPortFrom(prefix.Addr().Unmap(), listen.Port()))
		}
	}
	return own, nil
}

// resolve gives a host's addresses. A host that does not resolve now, or is the folder of a socket, has none to refuse.
func resolve(ctx context.Context, host string, port uint16) []netip.AddrPort {
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil
	}
	var resolved []netip.AddrPort
	for _, address := range addresses {
		if parsed, err := netip.ParseAddrPort(net.JoinHostPort(address, strconv.Itoa(int(port)))); err == nil {
			resolved = append(resolved, parsed)
		}
	}
	return resolved
}
