# `make` alone lists the targets. PKG narrows some of them: make test PKG=./uptime/...
PKG ?= ./...
FUZZTIME ?= 10s
BENCH ?=
SEED ?= 0
FAULT ?=
ROUNDS ?= 1
BREAK ?=
ARTIFACTS ?=
COVER_MIN := 93
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# With TEST_DATABASE_URL set, tests use that server; else one is started for them, on a free port, and removed after.
WITH_DATABASE = $(if $(TEST_DATABASE_URL),,scripts/postgres.sh throwaway)
PACKAGES_WITH = $$(grep -rlE '^func $(1)' --include='*_test.go' . | xargs -r dirname | sort -u)
TOOLS = bin/tools/.built
SAY = echo "$$(date +%T) "

# gin without msgpack, which we do not speak: a sixth of the program, and of the time to build it.
export GOFLAGS := $(strip $(shell go env GOFLAGS) -tags=nomsgpack)

.PHONY: help run build test cover bench benchmarks chaos mutants fuzz lint generate check-generated vuln modules licences tools ci clean compiler

help:
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target text; do \
	  printf '  make %-16s %s\n' "$$target" "$$text"; done

run: build ## run all of Riverwatch on 127.0.0.1:8080, with a database of its own unless DATABASE_URL names one
	@if [ -n "$$DATABASE_URL" ]; then exec bin/riverwatch serve; fi; \
	exec scripts/postgres.sh with .data/postgres bin/riverwatch serve

build: ## build bin/riverwatch
	@$(SAY) "building bin/riverwatch (minutes the first time, then seconds)…" >&2
	@CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)" -o bin/riverwatch ./cmd/riverwatch

# One package at a time: each has tests that run together, and they share one database and few cores.
test: compiler ## run the tests against a real TimescaleDB, with the race detector (PKG=./jobs/... for some)
	@race=-race CGO_ENABLED=1; command -v "$$(go env CC)" >/dev/null || race= CGO_ENABLED=0; \
	export CGO_ENABLED; exec $(WITH_DATABASE) go run ./testrun $$race -p 1 -shuffle=on -timeout 10m $(COVER) $(PKG)

# The race detector needs a C compiler.
compiler:
	@command -v "$$(go env CC)" >/dev/null && exit; \
	as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
	echo "make: no C compiler, which the race detector needs: installing gcc…" >&2; \
	($$as_root apt-get -qq update && $$as_root apt-get -qq install -y --no-install-recommends gcc libc6-dev) >/dev/null; \
	command -v "$$(go env CC)" >/dev/null || \
	printf '%s\n' "" "*** NO C COMPILER, AND NONE COULD BE INSTALLED: TESTING WITHOUT THE RACE DETECTOR ***" "" >&2

# The same tests, instrumented, which costs minutes of compiling the first time and then next to nothing.
cover: ## run the tests, and measure what they cover of all packages together; fails under 93 %
	@$(MAKE) --no-print-directory test COVER='-covermode=atomic -coverpkg=./... -coverprofile=coverage.out'
	@scripts/cover.sh coverage.out $(COVER_MIN)

bench: build ## measure what a scan costs and how exact it is, beside a bare loop (BENCH='saturate', see docs/performance.md)
	@exec $(WITH_DATABASE) go run ./bench $(BENCH)

benchmarks: ## run the benchmarks of the packages
	@packages="$(call PACKAGES_WITH,Benchmark)"; \
	exec $(WITH_DATABASE) go test -run '^$$' -bench . -benchmem $$packages

chaos: ## break everything on purpose, at full length (FAULT=F18 SEED=7 ROUNDS=3; ARTIFACTS=folder keeps ledgers and tables)
	@$(if $(ARTIFACTS),mkdir -p $(ARTIFACTS);) exec $(WITH_DATABASE) go run ./testrun ./chaos -v -timeout 60m \
	  -run 'TestChaos|TestInside|TestSimulation' $(if $(ARTIFACTS),-artifacts -outputdir $(abspath $(ARTIFACTS))) -chaos.long -chaos.seed=$(SEED) -chaos.fault=$(FAULT) -chaos.rounds=$(ROUNDS)

mutants: $(TOOLS) ## break the program on purpose, and see a test turn red each time (BREAK='file|old|new|./pkg TestName', or a file)
	@exec $(WITH_DATABASE) go run ./mutants $(if $(BREAK),"$$BREAK")

fuzz: ## run each fuzz test for FUZZTIME (10s)
	@set -e; for folder in $(call PACKAGES_WITH,Fuzz); do \
	  for name in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/p' "$$folder"/*_test.go); do \
	    echo "fuzz: $$folder $$name for $(FUZZTIME)" >&2; \
	    go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$folder"; \
	  done; done

lint: $(TOOLS) ## check style, bugs and which package may import which
	@bin/tools/golangci-lint run $(PKG)

generate: $(TOOLS) ## write the Go code of db/queries, after a change there or in db/schema
	@bin/tools/sqlc generate

check-generated: $(TOOLS) ## fail if `make generate` would change something
	@bin/tools/sqlc diff

vuln: $(TOOLS) ## fail on vulnerabilities that are known and that our code reaches
	@report=$$(mktemp); code=0; bin/tools/govulncheck ./... >"$$report" 2>&1 || code=$$?; \
	if [ $$code != 0 ] && [ $$code != 3 ] && grep -q 'fetching vulnerabilities' "$$report"; then \
	  echo "*** THE VULNERABILITY DATABASE CANNOT BE REACHED: NOT CHECKED ***" >&2; code=0; fi; \
	cat "$$report"; rm -f "$$report"; exit $$code

modules: licences ## check dependencies: go.sum, a tidy go.mod, docs/dependencies.md, licences
	@go mod verify
	@cd tools && go mod verify
	@go mod tidy -diff
	@scripts/dependencies.sh

licences: ## write the licences of what is in the program, which go with the image, to bin/THIRD_PARTY_LICENSES
	@mkdir -p bin && scripts/licences.sh >bin/THIRD_PARTY_LICENSES

ci: lint check-generated vuln modules ## do what .ci/run does after the tests

tools: $(TOOLS) ## build golangci-lint, sqlc and govulncheck into bin/tools

$(TOOLS): tools/go.mod tools/go.sum
	@$(SAY) "building golangci-lint, sqlc and govulncheck (minutes the first time, then seconds)…" >&2
	@mkdir -p bin/tools && cd tools && CGO_ENABLED=0 go build -trimpath -o ../bin/tools/ tool
	@touch $@

clean: ## remove what was built and measured, but not the database in .data
	@rm -rf bin coverage.*
