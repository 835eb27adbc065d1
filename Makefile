# Daemons and tests are built in cargo's dev profile, into CARGO_TARGET_DIR or target/.

PROGRAMS := -p steeple-server-cmd -p steeple-agent-cmd -p steeple-cmd
# A continuous build takes the versions of the lock file, or fails; its log has the counts that tests print.
LOCKED := $(if $(CI),--locked)
SHOWN := $(if $(CI),-- --show-output)
SERVERS = .ci/tools databases && cargo test $(LOCKED) -p steeple-datastore --test servers $(SHOWN)
MODEL = .ci/tools databases && cargo test $(LOCKED) -p steeple-server --lib model:: -- --include-ignored $(if $(CI),--show-output)
WHOLE = .ci/tools databases && .ci/tools clients && go=$$(.ci/tools go) && PATH="$$go:$$PATH" GOFLAGS=-buildvcs=false cargo test $(LOCKED) -p steeple-tests --test whole
ROUNDS ?= 5
FUZZ_SECONDS ?= 120
MEASURED ?= target/measured

.PHONY: help run check test whole fuzz soak measure peer

help:
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' Makefile | while IFS='|' read -r t what; do printf '%-12s %s\n' "$$t" "$$what"; done

run: ## Builds and starts a throw-away trust domain, and shows its identities at work; ARGS="-ttl 1m" for its flags
	@.ci/tools build
	cargo build $(PROGRAMS)
	@cargo run --quiet -p steeple-cmd -- up $(ARGS)

check: ## Formatting, lints, unit tests, rooms and papers: no root, nothing installed
	@.ci/tools check
	cargo fmt --all --check
	cargo clippy $(LOCKED) --workspace --all-targets -- -D warnings
	# No test of `cargo test` by itself, so that --all-targets leaves it out.
	cargo clippy $(LOCKED) -p steeple-datastore $(PROGRAMS) --test servers -- -D warnings
	cargo test $(LOCKED) --workspace --exclude steeple-tests --no-fail-fast $(SHOWN)
	cargo test $(LOCKED) -p steeple-tests --no-fail-fast --lib --test layers --test papers $(SHOWN)

test: ## All tests: check, whether the fuzz targets compile, then whole daemons; says first what it will install
	@.ci/tools test
	@$(MAKE) --no-print-directory check
	.ci/fuzz --check
	@$(MAKE) --no-print-directory whole

whole: ## The store, and servers at random on one database, on database servers; whole daemons as processes, with clients in Go, Java, Python and Rust
	@.ci/tools build
	$(SERVERS)
	$(MODEL)
	cargo build $(LOCKED) $(PROGRAMS)
	$(WHOLE)

fuzz: ## Each parser of foreign bytes, and each service, for two minutes, with inputs that grow out of fuzz/corpus; FUZZ_SECONDS=120
	@.ci/tools fuzz
	FUZZ_SECONDS=$(FUZZ_SECONDS) .ci/fuzz

soak: fuzz ## All of fuzz, servers at random on one database for 500 rounds, benches with 2000 and 1000 tries, rotation for six minutes, kills in each write, 2000 agents that come back at once, then the whole daemons again and again; ROUNDS=5
	@.ci/tools test
	cargo build $(LOCKED) $(PROGRAMS)
	STEEPLE_MODEL_ROUNDS=500; export STEEPLE_MODEL_ROUNDS; $(MODEL)
	STEEPLE_TRIES=2000; export STEEPLE_TRIES; $(WHOLE) bench::
	STEEPLE_TRIES=1000; export STEEPLE_TRIES; $(WHOLE) servers::latency::
	STEEPLE_ROTATION_SECONDS=360; export STEEPLE_ROTATION_SECONDS; $(WHOLE) rotation::
	STEEPLE_EVERY_WRITE=1; export STEEPLE_EVERY_WRITE; $(WHOLE) killed::
	cargo build $(LOCKED) --release $(PROGRAMS)
	STEEPLE_BIN=$$(realpath "$${CARGO_TARGET_DIR:-target}/release"); STEEPLE_WHOLE_STORM=1; export STEEPLE_BIN STEEPLE_WHOLE_STORM; $(WHOLE) storm::
	@for round in $$(seq $(ROUNDS)); do echo "round $$round of $(ROUNDS)"; ($(WHOLE)) || exit 1; done

measure: ## What daemons cost, into docs/performance.md: forty minutes on an idle machine; STEEPLE_PEER_BIN=/opt/spire/bin for SPIRE's figures
	@.ci/tools build && .ci/tools databases
	cargo build $(LOCKED) --release $(PROGRAMS)
	cargo build $(LOCKED) -p steeple-tests --test whole
	mkdir -p $(MEASURED)
	tests/measure/side_by_side.py $(MEASURED)/side_by_side > $(MEASURED)/side_by_side.md
	tests/measure/all_on.py $(MEASURED)/all_on > $(MEASURED)/all_on.md
	tests/measure/sizes.py $(MEASURED)/sizes > $(MEASURED)/sizes.md
	tests/measure/servers.py $(MEASURED)/servers > $(MEASURED)/servers.md
	tests/measure/latency.sh > $(MEASURED)/latency.md
	tests/measure/publish.py $(MEASURED)

peer: ## Our daemons with those of another directory, on the wire, on the same files and on one database: STEEPLE_PEER_BIN=/opt/spire/bin
	@test -n "$(STEEPLE_PEER_BIN)" || { echo "Say where the peers are: make peer STEEPLE_PEER_BIN=/opt/spire/bin"; exit 2; }
	@.ci/tools build
	cargo build $(LOCKED) $(PROGRAMS)
	STEEPLE_PEER_BIN="$(STEEPLE_PEER_BIN)" cargo test $(LOCKED) -p steeple-tests --test peer
