// Package uptime holds the rules of Riverwatch that need no I/O: which slots a schedule has, what an outcome counts as,
// and how a monitor's status follows from its scans.
package uptime
