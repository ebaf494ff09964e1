# Two commands on a fresh Debian machine, as root, with Go installed:
#   make demo   builds everything, makes real devices and walks through the story
#   make test   runs all checks and tests
SHELL := /bin/bash
export CGO_ENABLED := 0
# A semantic version: what updates ask for as min_server_version is compared with it. The commit does not count in that order.
VERSION := $(shell cat VERSION)$(shell git describe --always --dirty=.dirty --exclude "*" 2>/dev/null | sed "s/^/+g/")
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: help setup storage assets build demo demo-stop test check lint fuzz rules bench soak screenshots packages clean

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: ## install the Debian packages that tests and demo need
	@scripts/setup.sh

storage: ## build the S3 server of the tests, from its own tools module; the build cache keeps it
	@go tool -modfile=tools/s3/go.mod -n versitygw >/dev/null

assets: ## fetch the console's style sheet, icons and scripts by their lock file, if they are not there
	@server/internal/web/assets/build.sh

build: assets ## build the three programs and the lab into bin/, and newer builds of server and agent for the story of their upgrades
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/... ./lab/cmd/... ./e2e/cmd/...
	go build -trimpath -ldflags '-s -w -X main.version=0.2.0' -o bin/next/ ./cmd/assentd ./cmd/assent-agent

demo: setup build ## run the story on real devices and leave them running
	bin/assent-demo up

demo-stop: ## end the demo's devices and server
	@if [ -x bin/assent-demo ]; then bin/assent-demo down; else echo "no demo was built"; fi

# -count=1: the end-to-end tests run programs that go test does not see them depend on, so a cached result proves nothing.
test: setup build storage check ## run all checks and tests
	go test -count=1 -timeout 60m ./...

check: lint ## formatting, vet, lint
	@files=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$files" ] || { echo "not gofmt-ed: $$files"; exit 1; }
	go vet ./...

lint: ## golangci-lint, from its own tools module
	go tool -modfile=tools/go.mod golangci-lint run --timeout 15m ./...

rules: ## print the rules of product.md that no test names
	@go run ./e2e/cmd/assent-rules

bench: setup build ## measure against the baselines
	go run ./bench

SOAK ?= 1h
soak: ## let simulated devices come and go for an hour (SOAK=10m for less), and demand flat memory, files and database
	ASSENT_SOAK=$(SOAK) go test -count=1 -timeout 24h -v -run TestSoak ./server

screenshots: setup build ## tell the story at the console on real devices, and write docs/pictures from what it shows
	@mkdir -p docs/pictures
	ASSENT_SCREENSHOTS=$(CURDIR)/docs/pictures go test -count=1 -timeout 20m -run TestConsole_TheReadmesStory ./e2e

packages: ## Debian packages of server and agent into dist/
	packaging/build.sh $(VERSION) dist

clean: ## remove what was built
	rm -rf bin dist
