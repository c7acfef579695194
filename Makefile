# The front doors. `make demo` on a fresh machine makes .venv, installs, runs the pipeline and says what to open next.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
export DVC_NO_ANALYTICS = 1

.PHONY: install install-dev demo demo-full ui mlflow chromium test lint test-slow clean-runs

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt 'torch>=2.9,<2.14'
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/maestro demo

demo-full: install
	$(BIN)/maestro demo --full

ui: install
	$(BIN)/streamlit run dashboard/app.py

mlflow: install
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow server --host 127.0.0.1 --port 5000 \
	  --backend-store-uri sqlite:///$(CURDIR)/mlflow.db --artifacts-destination $(CURDIR)/mlartifacts

# Debian's Chromium for the browser tests; where it cannot be had they skip and say so.
chromium:
	@command -v chromium >/dev/null || (command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium >/dev/null) \
	  || echo "no chromium: browser tests will be skipped"

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: install-dev chromium lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -m 'not slow' -n 2 --dist loadfile

test-slow: install-dev chromium
	$(BIN)/pytest -m slow

clean-runs:
	rm -rf runs
