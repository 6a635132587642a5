# make build   leaves bin/hermod
# make run     builds it and runs it with its built-in config: this machine's metrics on a scrape page, its containers' logs here
# make test    everything that has to pass before a change goes in
# make help    the other targets

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -X main.version=$(VERSION)
# The largest stripped binary that we pass on, in bytes.
MAX_SIZE := 26000000

TOOLS := $(CURDIR)/bin/tools
CACHE := $(CURDIR)/.cache
# How many packages are tested, and integration tests run, at a time; 0 is as many as there are processors.
TEST_FLAGS ?=

.PHONY: help
help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 22

.PHONY: build
build: bin/hermod ## build bin/hermod: static and stripped

# go build knows best what changed: the rule always runs, and costs a second when nothing did.
.PHONY: bin/hermod
bin/hermod:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w $(LDFLAGS)" -o $@ ./cmd/hermod

.PHONY: run
run: build ## build, and run with the built-in config
	exec bin/hermod run

.PHONY: test
test: setup vet lint generated licences vulnerabilities unit size integration ## everything that has to pass before a change goes in

.PHONY: setup
setup: ## install what the tests need, where that is allowed, or say what is missing
	integration/setup/setup

.PHONY: backends
backends: ## build the real Loki, Mimir, cAdvisor and nginx exporter, and the image that ours is compiled in: a quarter of an hour once, nothing afterwards
	HERMOD_CACHE=$(CACHE) integration/backends/build
	integration/setup/go-image >/dev/null

.PHONY: vet
vet: ## go vet, with and without the integration tests
	go vet ./...
	go vet -tags integration ./integration/...
	go vet -tags crashpoints ./internal/crashpoint ./pipeline/queue ./pipeline/positions

.PHONY: lint
lint: $(TOOLS)/golangci-lint ## the rules of .golangci.yml
	XDG_CACHE_HOME=$(CACHE) $(TOOLS)/golangci-lint run --allow-parallel-runners ./...
	cd tools && XDG_CACHE_HOME=$(CACHE) $(TOOLS)/golangci-lint run --allow-parallel-runners --config ../.golangci.yml ./...

.PHONY: format
format: ## gofmt everything
	gofmt -w $$(git ls-files -co --exclude-standard '*.go')

.PHONY: generate
generate: ## write docs/reference anew
	go run ./docs/reference/gen

.PHONY: generated
generated: ## fail when docs/reference is not what the code says, or a file is not as gofmt writes it
	go run ./docs/reference/gen -check
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then printf 'not as gofmt writes it (make format):\n%s\n' "$$unformatted"; exit 1; fi

.PHONY: licences
licences: ## fail when something is linked into the binary that may not be
	go run -C tools ./licences -C .. ./cmd/hermod

# The database is on the internet. Where it can't be reached the check says so and is skipped: that is no fault of the change.
.PHONY: vulnerabilities
vulnerabilities: ## known vulnerabilities in what the binary calls
	@database=$${GOVULNDB:-https://vuln.go.dev}; \
	if curl -fsS -m 10 -o /dev/null "$$database/index/db.json" 2>/dev/null; then \
		$(MAKE) --no-print-directory $(TOOLS)/govulncheck; \
		$(TOOLS)/govulncheck -db "$$database" ./cmd/hermod; \
	else \
		echo "SKIPPED: govulncheck: the vulnerability database $$database can't be reached from here"; \
	fi

.PHONY: unit
unit: ## unit tests with the race detector, in random order
	go test -C tools -shuffle=on ./...
	CGO_ENABLED=1 go test -race -shuffle=on -timeout 10m $(TEST_FLAGS) ./...
	go test -tags crashpoints -run 'Killed|Crash' -timeout 5m ./pipeline/queue ./pipeline/positions

.PHONY: size
size: build ## fail when the binary is too large; print each module's share of it
	@mkdir -p $(CACHE)
	CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o $(CACHE)/hermod-with-symbols ./cmd/hermod
	go run -C tools ./size -max $(MAX_SIZE) $(CURDIR)/bin/hermod $(CACHE)/hermod-with-symbols

.PHONY: integration
integration: build backends ## the real binary against a real Docker engine, Prometheus, Mimir, Loki and cAdvisor
	HERMOD_BIN=$(CURDIR)/bin/hermod HERMOD_CACHE=$(CACHE) \
		go test -tags integration -count=1 -timeout 45m $(TEST_FLAGS) ./integration/...

.PHONY: torture
torture: build ## the long form of integration/torture, about an hour; writes its table to docs/reliability.md
	HERMOD_BIN=$(CURDIR)/bin/hermod HERMOD_CACHE=$(CACHE) HERMOD_TORTURE=full HERMOD_TORTURE_REPORT=$(CURDIR)/docs/reliability.md \
		go test -tags integration -count=1 -timeout 3h ./integration/torture

# The image's name, its architecture (the Docker engine's own unless given) and the image to compile in (the Dockerfile's unless given;
# where no registry can be reached: GO_IMAGE=$$(integration/setup/go-image)).
IMAGE ?= hermod
ARCH ?=
GO_IMAGE ?=

.PHONY: image
image: ## build the image hermod; ARCH=arm64 for another architecture than the Docker engine's
	@engine=$$(docker version --format '{{.Server.Arch}}'); arch=$(or $(ARCH),$$engine); platform=; \
	if [ "$$arch" != "$$engine" ]; then \
		if docker buildx version >/dev/null 2>&1; then platform="--platform linux/$$arch"; else \
			echo "image: Docker's classic builder writes $$engine on the image, though what is in it is for $$arch: it runs there with a warning. buildx does better." >&2; \
		fi; \
	fi; \
	set -x; docker build $$platform --build-arg TARGETARCH=$$arch --build-arg CLASSIC_PLATFORM=linux/$$engine --build-arg VERSION=$(VERSION) \
		$(if $(GO_IMAGE),--build-arg GO_IMAGE=$(GO_IMAGE)) -t $(IMAGE) .

.PHONY: clean
clean: ## remove what was built
	rm -rf bin .cache dist

# The tools are built from the versions that tools/go.mod pins, and again when it changes.
$(TOOLS)/golangci-lint: tools/go.mod tools/go.sum
	go build -C tools -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

$(TOOLS)/govulncheck: tools/go.mod tools/go.sum
	go build -C tools -o $@ golang.org/x/vuln/cmd/govulncheck
	@touch $@

.PHONY: bench
bench: build ## CPU, throughput and memory of shipping a million lines; PEERS="-peer promtail=PATH" runs peers in turn with it
	go run -tags integration ./integration/bench run -hermod bin/hermod $(PEERS)
