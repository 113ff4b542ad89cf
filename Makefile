# The only door to the project: `make help`.
BIN := $(CURDIR)/.bin
export PATH := $(BIN):$(PATH)
export GOTOOLCHAIN := local

BUF_VERSION := v1.75.0
PROTOC_GEN_GO_VERSION := v1.36.12
PROTOC_GEN_GO_GRPC_VERSION := v1.6.2
GOLANGCI_VERSION := v2.15.0

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

.PHONY: build
build: ## Build .bin/batchyard
	CGO_ENABLED=0 go build -trimpath -o $(BIN)/batchyard ./cmd/batchyard

# One stamp a tool and version, so that a new version is installed and an old one is not looked for again.
$(BIN)/.buf-$(BUF_VERSION):
	GOBIN=$(BIN) go install github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION) && touch $@
$(BIN)/.protoc-gen-go-$(PROTOC_GEN_GO_VERSION):
	GOBIN=$(BIN) go install google.golang.org/protobuf/cmd/protoc-gen-go@$(PROTOC_GEN_GO_VERSION) && touch $@
$(BIN)/.protoc-gen-go-grpc-$(PROTOC_GEN_GO_GRPC_VERSION):
	GOBIN=$(BIN) go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@$(PROTOC_GEN_GO_GRPC_VERSION) && touch $@
$(BIN)/.golangci-lint-$(GOLANGCI_VERSION):
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION) && touch $@

GENERATORS := $(BIN)/.buf-$(BUF_VERSION) $(BIN)/.protoc-gen-go-$(PROTOC_GEN_GO_VERSION) $(BIN)/.protoc-gen-go-grpc-$(PROTOC_GEN_GO_GRPC_VERSION)

.PHONY: generate
generate: $(GENERATORS) ## Regenerate what is generated
	buf generate
	go test ./cmd/batchyard -run '^Test(Docs|Properties)$$' -count 1 -update

.PHONY: check-generate
check-generate: generate ## Fail if generated files are stale
	@git diff --exit-code --stat -- proto docs || { echo "generated files are stale: run make generate and commit"; exit 1; }

# The peer that the storage tests run against; its version stands in storage/s3/s3_test.go.
MINIO_VERSION := v0.0.0-20260212201848-7aac2a2c5b7c
$(BIN)/minio:
	GOBIN=$(BIN) go install github.com/minio/minio@$(MINIO_VERSION)

# Rooms with goroutines that share something; the others are pure, or slow under the detector.
RACE_ROOMS := ./agent/task/... ./agent/container/... ./agent/session/... ./agent/files/... ./coordinator/api/... ./coordinator/azure ./coordinator/identity/... \
	./coordinator/dispatch/... ./coordinator/schedule/... ./coordinator/pools/... ./coordinator/reconcile ./coordinator/state/... ./internal/...

.PHONY: test-deps
test-deps: $(BIN)/minio ## Install what the tests need
	scripts/test-deps

.PHONY: test
test: test-deps build ## Set up and run all tests, with the race detector where it matters
	go vet ./...
	go test -timeout 20m -p 2 ./...
	$(MAKE) race

.PHONY: race
race: ## Run the tests of the concurrent rooms with the race detector
	CGO_ENABLED=1 go test -race -timeout 20m -p 2 $(RACE_ROOMS)

.PHONY: compatibility
compatibility: test-deps ## Run the official Azure Batch clients and write docs/azure-compatibility.md
	go test -count=1 ./coordinator/azure/conformance -run TestOfficialClients -update

.PHONY: fuzz
fuzz: ## Fuzz every parser for FUZZTIME each (default 20s)
	scripts/fuzz $(or $(FUZZTIME),20s)

.PHONY: demo
demo: build ## Run the main job on a farm of this machine
	@scripts/demo

.PHONY: bench
bench: build ## Measure the budgets of the design; BENCH selects: "-only real -scale 0.1"
	go run ./scripts/bench $(BENCH)

.PHONY: demo-images
demo-images: build ## Run the image job, with ImageMagick, on a farm of this machine
	@scripts/demo-images

.PHONY: lint
lint: $(GENERATORS) $(BIN)/.golangci-lint-$(GOLANGCI_VERSION) ## Lint Go and proto
	buf lint
	golangci-lint run ./...
