# Two commands do all set-up: `make quickstart` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test lint types pytest test-cluster test-faults test-browser test-real bench results clean

quickstart:
	@echo "1. Install into .venv: about 6 GB, three minutes or more. 2. Embed 1,656 pictures with nine encoders, train the"
	@echo "grid, hyma and others, write a report: six minutes on two cores. 3. The same question by harness pick: one minute."
	@$(MAKE) --no-print-directory .venv/.installed-quickstart
	"$(BIN)/harness" sweep sweeps/quickstart.yaml
	"$(BIN)/harness" pick sweeps/quickstart.yaml

test: lint types pytest

lint: .venv/.installed-dev
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .

types: .venv/.installed-dev
	"$(BIN)/basedpyright" --level error

pytest: .venv/.installed-dev
	"$(BIN)/python" -m pytest

test-cluster: .venv/.installed-dev
	"$(BIN)/python" -m pytest -m cluster

test-faults: .venv/.installed-dev
	"$(BIN)/python" -m pytest -m faults

test-browser: .venv/.installed-dev
	"$(BIN)/python" -m pytest -m browser

test-real: .venv/.installed-dev
	"$(BIN)/python" -m pytest -m real

bench: .venv/.installed-dev
	"$(BIN)/python" -m pytest -m bench --benchmark-enable --benchmark-columns=median,iqr,rounds tests/benchmarks
	"$(BIN)/python" -m tests.benchmarks.engine

# Hours; what is finished is kept, and the same command goes on.
results: .venv/.installed-dev
	"$(BIN)/python" -m reports.documents

# A stamp for each set of extras, made anew when pyproject.toml changes.
.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed-quickstart: .venv/bin/python pyproject.toml
	"$(BIN)/python" -m pip install --progress-bar on -e ".[quickstart]"
	touch "$@"

.venv/.installed-dev: .venv/bin/python pyproject.toml
	"$(BIN)/python" -m pip install --progress-bar on -e ".[quickstart,dev]"
	touch .venv/.installed-quickstart "$@"

clean:
	rm -rf .venv build dist *.egg-info
