package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"
)

const (
	barWidth   = 32 // characters, for all phases together
	shownNames = 5  // of a certificate
)

// printCheck prints what came of a probe for people, as far as there is any of it.
func (p *program) printCheck(output checkOutput) error {
	var page bytes.Buffer
	rows(&page, func(table io.Writer) {
		fmt.Fprintf(table, "url\t%s\noutcome\t%s\n", output.URL, output.Outcome)
		if output.Error != "" {
			fmt.Fprintf(table, "error\t%s\n", output.Error)
		}
		if output.HTTPStatus != nil {
			status := strings.TrimSpace(fmt.Sprintf("%d %s", *output.HTTPStatus, http.StatusText(*output.HTTPStatus)))
			if output.HTTPVersion != nil {
				status += " (" + *output.HTTPVersion + ")"
			}
			fmt.Fprintf(table, "status\t%s\n", status)
		}
		if output.RemoteIP != nil {
			fmt.Fprintf(table, "remote ip\t%s\n", *output.RemoteIP)
		}
		if output.BodyBytes != nil {
			fmt.Fprintf(table, "body\t%d bytes\n", *output.BodyBytes)
		}
	})
	output.writePhases(&page)
	if len(output.Redirects) > 0 {
		rows(&page, func(table io.Writer) {
			fmt.Fprintln(table, "\nredirected")
			for _, redirect := range output.Redirects {
				fmt.Fprintf(table, "%d\tto %s\n", redirect.Status, redirect.Location)
			}
		})
	}
	output.writeCertificate(&page)
	if len(output.Expectations) > 0 {
		rows(&page, func(table io.Writer) {
			fmt.Fprintln(table, "\nexpected")
			for _, e := range output.Expectations {
				mark := "✗"
				if e.Met {
					mark = "✓"
				}
				fmt.Fprintf(table, "%s %s\twanted %s\tfound %s\n", mark, e.Name, e.Want, e.Found)
			}
		})
	}
	if output.BodyExcerpt != nil {
		fmt.Fprintln(&page, "\nbody")
		for line := range strings.SplitSeq(strings.TrimRight(*output.BodyExcerpt, "\n"), "\n") {
			fmt.Fprintf(&page, "  │ %s\n", line)
		}
	}
	if _, err := page.WriteTo(p.stdout); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// rows writes rows whose columns, between tabs, stand below each other. The buffer behind it takes everything.
func rows(page io.Writer, write func(table io.Writer)) {
	table := tabwriter.NewWriter(page, 0, 0, 2, ' ', 0)
	write(table)
	_ = table.Flush()
}

// writePhases writes how long each phase of the last request took, until when it had come, and where in time it lies.
func (o checkOutput) writePhases(page io.Writer) {
	phases := []struct {
		name string
		ms   *float64
	}{
		{"dns", o.DNSMS}, {"connect", o.ConnectMS}, {"tls", o.TLSMS}, {"wait", o.WaitMS}, {"transfer", o.TransferMS},
	}
	all := 0.0
	for _, phase := range phases {
		if phase.ms != nil {
			all += *phase.ms
		}
	}
	rows(page, func(table io.Writer) {
		fmt.Fprintf(table, "\nphase\t%10s\t%10s\t\n", "took", "until")
		until := 0.0
		for _, phase := range phases {
			if phase.ms == nil {
				continue
			}
			from := until
			until += *phase.ms
			fmt.Fprintf(table, "%s\t%7.1f ms\t%7.1f ms\t%s\n", phase.name, *phase.ms, until, bar(from, until, all))
		}
		fmt.Fprintf(table, "total\t%7.1f ms\t\t\n", o.TotalMS)
	})
}

// bar draws a stretch of time, at least one character long, at its place in all of it.
func bar(from, until, all float64) string {
	if all <= 0 {
		return ""
	}
	start := min(int(math.Floor(from/all*barWidth)), barWidth-1)
	end := max(int(math.Round(until/all*barWidth)), start+1)
	return strings.Repeat("·", start) + strings.Repeat("█", end-start)
}

func (o checkOutput) writeCertificate(page io.Writer) {
	c := o.Certificate
	if c == nil {
		return
	}
	names := strings.Join(c.Names[:min(len(c.Names), shownNames)], ", ")
	if more := len(c.Names) - shownNames; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	left := fmt.Sprintf("%d days left", c.DaysLeft)
	if c.DaysLeft < 0 {
		left = fmt.Sprintf("expired %d days ago", -c.DaysLeft-1)
	}
	rows(page, func(table io.Writer) {
		fmt.Fprintf(table, "\ncertificate\t%s\nissuer\t%s\nnames\t%s\n", c.Subject, c.Issuer, names)
		fmt.Fprintf(table, "valid\t%s to %s (%s)\n", c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly), left)
		fmt.Fprintf(table, "sha-256\t%s\n", c.Fingerprint)
	})
}
