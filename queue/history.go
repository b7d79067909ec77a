package queue

import "github.com/riverqueue/river"

// HistoryArgs ask for what is over to be rolled up, and for what is too old or too large to be dropped.
type HistoryArgs struct{}

// Kind implements river.JobArgs.
func (HistoryArgs) Kind() string { return "history" }

// InsertOpts implements river.JobArgsWithInsertOpts.
func (HistoryArgs) InsertOpts() river.InsertOpts { return upkeepOpts() }

// SealArgs ask for the log's chunks that are over to get their index.
type SealArgs struct{}

// Kind implements river.JobArgs.
func (SealArgs) Kind() string { return "seal" }

// InsertOpts implements river.JobArgsWithInsertOpts.
func (SealArgs) InsertOpts() river.InsertOpts { return upkeepOpts() }
