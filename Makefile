# A machine with Go and a C compiler is all this needs.
TAGS    := duckdb_arrow
GOFLAGS := -tags=$(TAGS) -trimpath
PACKAGES := ./... ./testdata
export GOFLAGS

.PHONY: build test test-engines demo cluster bench bench-engines lint lint-deploy clean

build: ## bin/millrace
	go build -o bin/millrace ./cmd/millrace

test: ## everything that must hold before a change goes in
	@unformatted=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')); \
	  if [ -n "$$unformatted" ]; then printf 'gofmt these files:\n%s\n' "$$unformatted"; exit 1; fi
	go vet $(PACKAGES)
	go test $(PACKAGES)

demo: build ## the main job from end to end on 60,000 flights
	go run ./testdata/halves bin/demo
	./testdata/demo.sh bin/millrace bin/demo/first.ndjson bin/demo/second.ndjson

test-engines: ## what needs a JDK 17, Maven and Python: real Kafka, Flink and Spark on this machine
	go test -tags=$(TAGS),engines -count=1 -timeout 25m -v ./cmd/cluster

cluster: build ## Kafka and Flink on this machine, in the background; `bin/millrace cluster down` stops them
	bin/millrace cluster up

bench: build ## the project's benchmarks on this machine, each beside its ceiling
	bin/millrace bench

bench-engines: build ## millrace on prism, Flink and Spark beside those engines' own SQL; needs a JDK and Maven
	bin/millrace bench engines

lint: ## needs golangci-lint 2
	@command -v golangci-lint >/dev/null || { echo 'golangci-lint is not installed: https://golangci-lint.run/docs/welcome/install/'; exit 1; }
	golangci-lint run --build-tags $(TAGS) ./...

lint-deploy: ## manifests and units under deploy/; needs python3 and PyPI once
	deploy/lint.sh

clean:
	rm -rf bin
