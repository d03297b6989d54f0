# A machine with Go and a C compiler is all this needs.
TAGS    := duckdb_arrow
GOFLAGS := -tags=$(TAGS) -trimpath
PACKAGES := ./... ./testdata
export GOFLAGS

.PHONY: build test torture fuzz soak test-engines demo cluster bench bench-engines lint lint-deploy clean

build: ## bin/millrace
	go build -o bin/millrace ./cmd/millrace

test: ## everything that must hold before a change goes in
	@unformatted=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')); \
	  if [ -n "$$unformatted" ]; then printf 'gofmt these files:\n%s\n' "$$unformatted"; exit 1; fi
	go vet $(PACKAGES)
	go test -timeout 30m $(PACKAGES)

torture: ## the law under 1,000 random schedules of everything: deaths, zombies, bad weather among it; SEED=N repeats one
	go test -timeout 90m -count=1 -v -run '^TestTheLaw$$' . -rapid.checks=500 -rapid.seed=$(or $(SEED),0)

FUZZTIME ?= 1m
fuzz: ## every decoder against random input, FUZZTIME each; what fails is kept beside the test, as a seed
	@mkdir -p bin; for file in $$(grep -rl --include='*_test.go' '^func Fuzz' . | sort); do \
	  for name in $$(sed -n 's/^func \(Fuzz[A-Za-z]*\)(.*/\1/p' $$file); do \
	    go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $$(dirname $$file) >bin/fuzz.log 2>&1 || { cat bin/fuzz.log; exit 1; }; \
	    echo "$$name: $$(tail -n 1 bin/fuzz.log)"; \
	  done; done

demo: build ## the main job from end to end on 60,000 flights
	go run ./testdata/halves bin/demo
	./testdata/demo.sh bin/millrace bin/demo/first.ndjson bin/demo/second.ndjson

# The files of tests that need engines, their packages, and the tests' names as a pattern.
ENGINE_FILES = $(shell grep -rl --include='*_test.go' '^//go:build engines' .)
ENGINE_PACKAGES = $(sort $(dir $(ENGINE_FILES)))
ENGINE_TESTS = $(shell sed -n 's/^func \(Test[A-Z][A-Za-z0-9_]*\).t \*testing.*/\1/p' $(ENGINE_FILES) | paste -s -d '|' -)

test-engines: ## the same on a real Kafka, Flink and Spark, which it fetches; needs a JDK 17, Maven and Python
	@missing=; for p in java javac jar mvn python3; do \
	    command -v $$p >/dev/null || [ -x "$$JAVA_HOME/bin/$$p" ] || missing="$$missing $$p"; done; \
	  if [ -n "$$missing" ]; then echo "test-engines: not here:$$missing; it needs a JDK of version 17 or newer, Maven 3.6 and Python 3.8 to 3.11"; exit 1; fi
	@mkdir -p bin
	@{ go test -tags=$(TAGS),engines -count=1 -p 1 -timeout 25m -v -run '^($(ENGINE_TESTS))$$' $(ENGINE_PACKAGES) 2>&1; echo "exit $$?"; } | tee bin/test-engines.log | \
	  grep --line-buffered -E '^ *(--- |[A-Za-z0-9_]+_test\.go:[0-9]+: )|^(ok|FAIL|panic:)'; \
	  echo "test-engines: $$(grep -c -e '^ *--- PASS' bin/test-engines.log) passed, $$(grep -c -e '^ *--- FAIL' bin/test-engines.log) failed, $$(grep -c -e '^ *--- SKIP' bin/test-engines.log) skipped; all that was said is in bin/test-engines.log"; \
	  grep -A 1 -e '^ *--- SKIP' bin/test-engines.log; \
	  grep -qx 'exit 0' bin/test-engines.log

GIB ?= 2
MINUTES ?= 12
soak: build ## GIB through ingest and one cycle, then MINUTES of up at a steady rate: who takes how much memory, as a table
	bin/millrace bench soak --gib $(GIB) --minutes $(MINUTES)

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
