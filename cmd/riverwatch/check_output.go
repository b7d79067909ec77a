package main

import (
	"math"
	"time"

	"riverwatch/probe"
	"riverwatch/uptime"
)

// checkOutput is what check prints. What was not measured is null. All its texts are clean.
type checkOutput struct {
	URL           string            `json:"url"`
	Outcome       uptime.Outcome    `json:"outcome"`
	Good          bool              `json:"good"`
	HTTPStatus    *int              `json:"http_status"`
	HTTPVersion   *string           `json:"http_version"`
	RegexpMatched *bool             `json:"regexp_matched"`
	Error         string            `json:"error"`
	RemoteIP      *string           `json:"remote_ip"`
	BodyBytes     *int64            `json:"body_bytes"`
	DNSMS         *float64          `json:"dns_ms"`
	ConnectMS     *float64          `json:"connect_ms"`
	TLSMS         *float64          `json:"tls_ms"`
	WaitMS        *float64          `json:"wait_ms"`
	TransferMS    *float64          `json:"transfer_ms"`
	TotalMS       float64           `json:"total_ms"`
	Redirects     []redirectOutput  `json:"redirects"`
	Certificate   *certificateShown `json:"certificate"`
	Expectations  []expectedOutput  `json:"expectations"`
	BodyExcerpt   *string           `json:"body_excerpt"`
}

type redirectOutput struct {
	Status   int    `json:"status"`
	Location string `json:"location"`
}

type certificateShown struct {
	Fingerprint string    `json:"fingerprint"`
	Subject     string    `json:"subject"`
	Issuer      string    `json:"issuer"`
	Names       []string  `json:"names"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	DaysLeft    int       `json:"days_left"` // whole days; negative once it has expired
}

type expectedOutput struct {
	Name  string `json:"name"`
	Want  string `json:"want"`
	Found string `json:"found"`
	Met   bool   `json:"met"`
}

func newCheckOutput(normalURL string, result probe.Result) checkOutput {
	output := checkOutput{
		URL: normalURL, Outcome: result.Outcome, Good: result.Outcome.Good(), HTTPStatus: result.HTTPStatus,
		HTTPVersion: unlessEmpty(result.HTTPVersion), RegexpMatched: result.RegexpMatched, Error: result.Error,
		BodyBytes: result.BodyBytes, DNSMS: milliseconds(result.DNS), ConnectMS: milliseconds(result.Connect),
		TLSMS: milliseconds(result.TLS), WaitMS: milliseconds(result.Wait), TransferMS: milliseconds(result.Transfer),
		TotalMS: *milliseconds(&result.Total), BodyExcerpt: unlessEmpty(result.BodyExcerpt),
		Redirects:    make([]redirectOutput, len(result.Redirects)),
		Expectations: make([]expectedOutput, len(result.Expectations)),
	}
	if result.RemoteIP.IsValid() {
		output.RemoteIP = unlessEmpty(result.RemoteIP.String())
	}
	for i, redirect := range result.Redirects {
		output.Redirects[i] = redirectOutput(redirect)
	}
	for i, expected := range result.Expectations {
		output.Expectations[i] = expectedOutput(expected)
	}
	if result.Certificate != nil {
		c := probe.NewCertificate(result.Certificate)
		output.Certificate = &certificateShown{
			Fingerprint: c.Fingerprint, Subject: c.Subject, Issuer: c.Issuer, Names: c.Names, NotBefore: c.NotBefore,
			NotAfter: c.NotAfter, DaysLeft: int(math.Floor(c.NotAfter.Sub(result.Start).Hours() / 24)),
		}
	}
	return output
}

func unlessEmpty(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func milliseconds(d *time.Duration) *float64 {
	if d == nil {
		return nil
	}
	ms := float64(d.Microseconds()) / 1000
	return &ms
}
