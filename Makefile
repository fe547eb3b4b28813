# Entry points of the house. `make` alone lists them.

TAGS     ?= nobadger,nomysql,nopgx
FUZZTIME ?= 5m
BENCH    ?= .

# golangci-lint is not among the tools of tools/go.mod: its authors advise to
# install it apart. .ci/run reads the version here.
LINTER         := golangci-lint
LINTER_VERSION := v2.15.0
LINTER_INSTALL := go install github.com/golangci/golangci-lint/v2/cmd/$(LINTER)@$(LINTER_VERSION)

TOOL := go tool -modfile=tools/go.mod

export GOFLAGS += -tags=$(TAGS) -buildvcs=false
export PATH    := $(PATH):$(shell go env GOPATH)/bin:/usr/sbin

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.PHONY: help build test race lint fmt fmt-check tidy deadcode fuzz bench check linter-version

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

build: ## build every package, and the binary as bin/mailcaddy
	go build ./...
	go build -o bin/mailcaddy ./cmd/mailcaddy

test: ## run all tests
	go test ./...

race: ## run all tests in random order under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -shuffle=on -timeout=20m ./...

lint: ## run go vet and golangci-lint
	go vet ./...
	cd test/thirdparty && go vet ./...
	@if command -v $(LINTER) >/dev/null; then \
		echo $(LINTER) run; $(LINTER) run; \
	else \
		echo "$(LINTER) is not installed; install it with: $(LINTER_INSTALL)" >&2; \
		test "$${MAILCADDY_REQUIRE:-}" != all; \
	fi

fmt: ## format the Go files
	@if command -v $(LINTER) >/dev/null; then $(LINTER) fmt; else $(TOOL) gofumpt -w .; fi

fmt-check: ## name the Go files that are not formatted
	@unformatted=$$($(TOOL) gofumpt -l .); \
	if [ -n "$$unformatted" ]; then printf 'not formatted, run make fmt:\n%s\n' "$$unformatted" >&2; exit 1; fi

tidy: ## show what go mod tidy would change
	go mod tidy -diff
	cd test/thirdparty && go mod tidy -diff

deadcode: ## name the functions that neither the binary nor a test reaches
	@dead=$$($(TOOL) deadcode -test -tags=$(TAGS) ./...); \
	if [ -n "$$dead" ]; then printf '%s\n' "$$dead" >&2; exit 1; fi

# Before Go 1.27 a target can fail with a bare "context deadline exceeded" as its
# time ends (go.dev/issue/75804): that is no finding, and names no input.
fuzz: ## run every fuzz target for FUZZTIME each
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	grep -rHo --include='*_test.go' --exclude-dir=thirdparty '^func Fuzz[A-Za-z0-9_]*' . | \
	while IFS=: read -r file target; do \
		target=$${target#func }; \
		echo "$$target in $$(dirname "$$file")"; \
		go test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=10x "$$(dirname "$$file")" </dev/null 2>&1 | tee "$$log" || \
			{ grep -q '^    context deadline exceeded' "$$log" && ! grep -q 'Failing input' "$$log"; } || exit 1; \
	done

bench: ## run the benchmarks that match BENCH
	go test -run='^$$' -bench='$(BENCH)' -benchmem ./...

# The tests compare the golden files, so race holds them unchanged.
check: FUZZTIME := 10s
check: build lint fmt-check race tidy deadcode fuzz ## all that must hold before a change is merged

linter-version:
	@echo $(LINTER_VERSION)
