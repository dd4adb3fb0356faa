# Stafett: every command of the project. `make` alone lists them.
# Works with GNU make 3.81 or later (the one macOS ships).

VENV := .venv
BIN := $(VENV)/bin
PREPARE := sh setup/setup.sh
unexport PYTHONHOME PYTHONPATH PYTHONSAFEPATH

# The demo's ports that can be chosen: BROKER_PORT=9700 becomes --broker-port 9700 of `stafett demo`.
DEMO_PORTS := BROKER SHOP GARAGE GOOGLE BANKID PHONE HOTEL META APPLE EID STAFF MAIL SMTP SMS SAML_GARAGE EIDAS
demo_options = $(foreach who,$(DEMO_PORTS),$(if $($(who)_PORT),--$(shell echo $(who) | tr A-Z_ a-z-)-port $($(who)_PORT)))

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-check check test interop bench golden fmt lock clean \
  ready-demo ready-check ready-browser ready-test ready-interop types walls pytest

help: ## list these commands
	@echo "Stafett: make COMMAND"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "Variables: PYTHON=python3.12 chooses the Python; STAFETT_CHROMIUM=/path chooses the browser;"
	@echo "$(DEMO_PORTS:%=%_PORT) choose the demo's ports."

setup: ready-test ## set up everything `make test` needs

demo: ready-demo ## run the whole story on this machine; Ctrl-C stops it
	@exec $(BIN)/stafett demo $(demo_options)

demo-check: ready-browser ## play the demo's story without a person; screenshots in build/demo-check
	@STAFETT_CHROMIUM="$$($(BIN)/python -m setup.find browser)" \
	  exec $(BIN)/stafett demo --check --screenshots build/demo-check $(demo_options)

check: ready-check ## lint, format, types and the walls between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory -j2 types walls

types: ready-check
	$(BIN)/mypy -p broker -p setup

walls: ready-check
	$(BIN)/python -m pytest tests/rooms --durations=0 --durations-min=1

test: ready-test ## the gate: set up, check, every test, then demo-check
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory pytest besides=--ignore=tests/rooms
	@$(MAKE) --no-print-directory demo-check

pytest: ready-test
	$(BIN)/python -m pytest tests --ignore=tests/bench --ignore=tests/interop $(besides) \
	  -n auto --dist loadfile --no-loadscope-reorder

interop: ready-interop ## logins by other people's client libraries, in Python, JavaScript, Go and Apache
	$(BIN)/python -m pytest tests/interop

bench: ready-check ## server CPU per login, per SSO re-login and per handoff
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.metadata

golden: ready-test ## renew the golden files from what the code publishes now
	$(BIN)/python -m pytest tests --ignore=tests/bench --ignore=tests/interop --renew-golden

fmt: ready-check ## format the code and repair what ruff can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## renew setup/*.lock from pyproject.toml (needs uv)
	sh setup/lock.sh

clean: ## remove everything that was made here, the virtual environment included
	rm -rf $(VENV) .setup build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find broker tests setup -name __pycache__ -type d -prune -exec rm -rf {} +

ready-demo:
	@$(PREPARE) demo

ready-check:
	@$(PREPARE) check

ready-browser:
	@$(PREPARE) browser

ready-test:
	@$(PREPARE) test

ready-interop:
	@$(PREPARE) interop
