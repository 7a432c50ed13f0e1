# `make` alone lists the targets. Every one that needs tools begins with `setup`, which fetches only what is missing.

.DEFAULT_GOAL := help
.PHONY: help setup policy demo up test test-envoys test-fuzz test-keycloak faults fuzz conformance bench lint format check clean distclean

node := .tools/bin/node
bin := $(node) node_modules/.bin
bundle := policies/build/bundle.tar.gz

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

setup: ## put node, npm, envoy and opa behind .tools/bin, and the packages into node_modules
	@sh deploy/setup/setup.sh

policy: $(bundle) ## check, test and compile policies/ into a bundle, where they changed

# Folders count too: a file that was taken away leaves its mark only there.
$(bundle): $(shell find policies -path policies/build -prune -o -print) deploy/setup/versions | setup
	@OPA='$(CURDIR)/.tools/bin/opa' sh policies/build.sh

demo: setup policy ## start issuer, upstream, agent-authz and Envoy, send requests through, show the answers
	@$(node) deploy/demo/demo.ts $(ARGS)

up: setup policy ## start the same parts and leave them running until Ctrl-C
	@$(node) deploy/demo/demo.ts --stay $(ARGS)

test: setup policy ## every test, the ones with a real Envoy included
	@$(bin)/vitest run

test-keycloak: setup ## tokens of a real Keycloak through a real Envoy; needs Java 17 and Maven, fetches 175 MB once
	@sh deploy/setup/keycloak.sh
	@$(bin)/vitest run --config test/keycloak/vitest.config.ts

test-envoys: setup policy ## what a real Envoy makes of our answers, in each version that we support
	@sh deploy/setup/envoys.sh
	@$(bin)/vitest run --config test/envoys/vitest.config.ts

faults: setup policy ## each dependency slow, failing, talking garbage, gone and back, under each kind of request
	@$(bin)/vitest run --config test/faults/vitest.config.ts

test-fuzz: setup policy ## 100,000 inputs made by chance, the same each time, to each parser
	@$(bin)/vitest run --config test/fuzz/vitest.config.ts

fuzz: setup policy ## the parsers under a fuzzer; ARGS='--minutes 60 --target decoder'
	@$(node) test/fuzz/fuzz.ts $(ARGS)

conformance: setup ## the public JWS vectors of Wycheproof; WYCHEPROOF=DIR says where a clone of them is
	@$(node) test/conformance/wycheproof.ts

bench: setup policy ## what a hostile token costs beside a good one, and a flood of them a known one
	@$(node) test/bench/tokens.ts
	@$(node) test/bench/flood.ts

lint: setup policy ## lint, format, types and policies, without changing anything
	@$(bin)/biome check --error-on-warnings
	@$(bin)/tsc -p .

format: setup ## write the format and the safe corrections of the linter
	@$(bin)/biome check --write

check: lint test ## what a change must pass

clean: ## remove what was built and what ran
	rm -rf policies/build deploy/demo/run test-report.json

distclean: clean ## remove the tools and packages too
	rm -rf .tools node_modules
