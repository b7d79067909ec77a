// Package chaos breaks Riverwatch on purpose, and checks that what it promises holds all the same.
//
// Each fault of a table has a world of its own: the real program as processes (an API, workers), a real Postgres, a
// proxy between them that can cut, drop and delay, and a target that keeps a ledger of every request it got. A client
// creates monitors over the API all the while, and a reader notes every row of the log that was ever seen. Then
// checks.sql and account_test.go compare what was acknowledged, seen and requested with what the tables say.
//
// The faults that take under 20 s are part of `make test`; `make chaos` runs all of them, at full length. A failing
// fault prints how to run it again with the same seed. What is inside of a process, such as its clock, is replaced in
// tests of the packages' own parts (inside_test.go) on a real database. The simulation runs the rules alone, for
// thousands of virtual hours.
package chaos
