// Package uptime holds the rules of Riverwatch that need no I/O: which slots a schedule has, what a round does at its slot
// and which gap it declares, what an outcome counts as and for which configuration, and how a monitor's status follows
// from its scans.
package uptime
