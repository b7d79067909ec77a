package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"riverwatch/db"
	"riverwatch/egress"
)

const (
	floorTick   = time.Minute // after a failover, or with a new interface, addresses are refused so soon
	floorWithin = 10 * time.Second
)

// A floor is the addresses of this installation, which no monitor may have: those at which its processes listen, the
// database's, and those of Kubernetes.
type floor struct {
	config    config
	database  *pgxpool.Config
	api       netip.AddrPort
	answers   bool             // there is the API of this process; else that of another one may be, on this machine
	listeners []netip.AddrPort // of this process besides
	lookup    func(ctx context.Context, host string) ([]string, error)

	addresses *egress.Addresses
	found     map[string][]netip.Addr // of hosts, when they were last found
	others    []netip.AddrPort        // where other processes listen
}

// newFloor makes the floor of a process, whose API listens where api says.
func (c config) newFloor(api netip.AddrPort) (*floor, error) {
	database, err := pgxpool.ParseConfig(c.DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("parse DATABASE_URL: %w", err)
	}
	f := &floor{
		config: c, database: database, api: api, lookup: net.DefaultResolver.LookupHost,
		addresses: egress.NewAddresses(), found: map[string][]netip.Addr{},
	}
	if metrics, err := netip.ParseAddrPort(c.MetricsListen); err == nil {
		f.listeners = append(f.listeners, metrics)
	}
	return f, nil
}

// policy gives the addresses that monitors may have: what the operator allows, less the floor.
func (f *floor) policy() egress.Policy {
	c := f.config
	return egress.Policy{
		Allow: c.AllowCIDRs.everywhere, AllowAt: c.AllowCIDRs.at, AllowPorts: c.AllowPorts,
		Refuse: f.addresses, RefusePrefixes: c.RefuseCIDRs, NAT64: c.NAT64,
		PrivateWrites: c.PrivateWrites,
	}
}

// policy gives the addresses that monitors may have, as they are now.
func (c config) policy(ctx context.Context, api netip.AddrPort) (egress.Policy, error) {
	f, err := c.newFloor(api)
	if err != nil {
		return egress.Policy{}, err
	}
	return f.policy(), f.look(ctx)
}

// look finds all addresses anew, but for those of other processes.
func (f *floor) look(ctx context.Context) error {
	refuse, err := ownAddresses(append(f.listeners, f.api)...)
	if err != nil {
		return err
	}
	refuse = append(refuse, f.resolve(ctx, f.database.ConnConfig.Host, f.database.ConnConfig.Port)...)
	for _, fallback := range f.database.ConnConfig.Fallbacks {
		refuse = append(refuse, f.resolve(ctx, fallback.Host, fallback.Port)...)
	}
	if f.config.KubernetesHost != "" {
		refuse = append(refuse, f.resolve(ctx, f.config.KubernetesHost, 0)...)
	}
	f.addresses.Set(slices.Concat(refuse, f.others))
	return nil
}

// share tells the other processes where this one listens, learns where they do, and looks.
func (f *floor) share(ctx context.Context, conn db.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, floorWithin)
	defer cancel()
	listeners := f.listeners
	if f.answers {
		listeners = append(listeners, f.api)
	}
	own, err := ownAddresses(listeners...)
	if err != nil {
		return err
	}
	texts := make([]string, len(own))
	for i, address := range own {
		texts[i] = address.String()
	}
	slices.Sort(texts) // lest two processes deadlock
	heard, unheard := db.New(conn).ShareListeners(ctx, slices.Compact(texts))
	if unheard == nil {
		f.others = nil
		for _, text := range heard {
			if address, err := netip.ParseAddrPort(text); err == nil {
				f.others = append(f.others, address)
			}
		}
	}
	if err := f.look(ctx); err != nil {
		return err
	}
	if unheard != nil {
		return fmt.Errorf("learn where other processes listen: %w", unheard)
	}
	return nil
}

// ownAddresses gives the addresses at which listeners of this machine are reached.
func ownAddresses(listeners ...netip.AddrPort) (own []netip.AddrPort, err error) {
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this machine's addresses: %w", err)
	}
	for _, listener := range listeners {
		switch {
		case listener.Port() == 0: // any free port, and nothing listens yet
		case !listener.Addr().IsUnspecified():
			own = append(own, listener)
		default:
			for _, address := range interfaces {
				if prefix, err := netip.ParsePrefix(address.String()); err == nil {
					own = append(own, netip.AddrPortFrom(prefix.Addr().Unmap(), listener.Port()))
				}
			}
		}
	}
	return own, nil
}

// resolve gives a host's addresses: those that it had when it was last found, if it is not found now. One that never was,
// or that is the folder of a socket, has none to refuse.
func (f *floor) resolve(ctx context.Context, host string, port uint16) (resolved []netip.AddrPort) {
	if texts, err := f.lookup(ctx, host); err == nil {
		f.found[host] = nil
		for _, text := range texts {
			if address, err := netip.ParseAddr(text); err == nil {
				f.found[host] = append(f.found[host], address)
			}
		}
	}
	for _, address := range f.found[host] {
		resolved = append(resolved, netip.AddrPortFrom(address, port))
	}
	return resolved
}
