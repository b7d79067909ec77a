package db

// BaselineVersion is the last migration that needs no living database to meet.
const BaselineVersion = baselineVersion

// MigrateUpBy is MigrateUp with other migrations.
var MigrateUpBy = migrateUp

// What is sent to the database, to be explained by it.
const (
	LookBesideScansSQL    = lookBesideScans
	CountRoundMonitorsSQL = countRoundMonitors
	ListRoundMonitorsSQL  = listRoundMonitors
	ListMonitorsByIDSQL   = listMonitorsByID
	ListMonitorsByNameSQL = listMonitorsByName
)
