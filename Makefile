# Every job of the project. `make` alone lists them.

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=

.PHONY: help demo test soak faults accuracy test-kernels check fmt bench generate install setup setup-build build
.DEFAULT_GOAL := help

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' $(MAKEFILE_LIST) | sort

demo: setup-build ## Show the main job on a workload of its own
	$(CARGO) build
	target/debug/sockdbg demo

test: setup build ## Run every test; those of the kernel part need root
	scripts/test.sh

soak: setup ## Trace under full load through small rings for minutes, connect 10,000 times a second, compare a gigabyte
	$(CARGO) build --profile optimised --bins --examples
	SOCKDBG_LONG=1 $(CARGO) test --profile optimised --test live_soak -- --nocapture --test-threads=1
	SOCKDBG_LONG=1 $(CARGO) test --profile optimised --test live_table many -- --nocapture
	SOCKDBG_LONG=1 $(CARGO) test --profile optimised --test large -- --nocapture

faults: setup build ## Inject faults into 25,000 comparisons, lose every segment of every capture, and look what is said of it
	SOCKDBG_LONG=1 $(CARGO) test --test fault_injection --test fault_pairs --test losses -- --nocapture

accuracy: setup-build ## Print which protocols the captures were found to hold, and how far counts agree with those of others
	$(CARGO) test --test accuracy -- --nocapture --test-threads=1

test-kernels: setup-build ## Run the self-test and the table of workloads on other kernels, under qemu (not in CI)
	scripts/kernels.sh

check: setup-build ## Formatting, clippy, import rules, documentation
	$(CARGO) fmt --check
	@# rustfmt does not see modules that a macro declares.
	rustfmt --check --edition 2024 src/cmd/*.rs src/cmd/*/mod.rs src/protocol/*.rs src/protocol/*/mod.rs
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) test --test tidy
	@# Private items are documented as well, so links to them resolve.
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --no-deps --document-private-items

fmt: ## Format the sources
	$(CARGO) fmt
	rustfmt --edition 2024 src/cmd/*.rs src/cmd/*/mod.rs src/protocol/*.rs src/protocol/*/mod.rs

bench: setup ## Measure throughput side by side with other tools
	scripts/setup.sh bench
	$(CARGO) build --release
	benches/run.sh

generate: ## Write man/ and completions/ from the command-line definition
	SOCKDBG_GENERATE=1 $(CARGO) test --test generated committed

install: ## Install program, manual pages and completions below PREFIX
	$(CARGO) build --release
	install -D -m 755 target/release/sockdbg $(DESTDIR)$(PREFIX)/bin/sockdbg
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -D -m 644 completions/sockdbg.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/sockdbg
	install -D -m 644 completions/_sockdbg $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_sockdbg
	install -D -m 644 completions/sockdbg.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/sockdbg.fish

setup: ## Install the system packages that build and tests lack
	scripts/setup.sh build test

setup-build: ## Install the system packages that the build lacks
	scripts/setup.sh build

build: setup-build ## Build for development
	$(CARGO) build --all-targets
