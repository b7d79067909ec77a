package chaos_test

import "flag"

var (
	longRun   = flag.Bool("chaos.long", false, "run every fault, at full length")
	seedFlag  = flag.Uint64("chaos.seed", 0, "the seed of the first round; 0 means a new one")
	faultFlag = flag.String("chaos.fault", "", "run only these faults, such as F18 or F12,F18")
	rounds    = flag.Int("chaos.rounds", 1, "how often to run each fault, each time with another seed")
	program   = flag.String("chaos.program", "", "a riverwatch program to break, instead of building one")
)
