# Everything a fresh machine needs: Python >= 3.11, make, and a package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
READY := $(VENV)/.ready

.PHONY: demo bench bench-full test lint types wheel setup clean

demo: $(READY)  ## the main job on real data: TF-Bind-8, with and without pessimism
	$(BIN)/braid run examples/tf_bind_8/strl.toml examples/tf_bind_8/braid.toml --out runs/demo

bench: $(READY)  ## every method on one task, one seed: minutes; the report is runs/quick/report.html
	$(BIN)/braid bench benches/quick.toml --jobs $(JOBS)

bench-full: $(READY)  ## every method, all tasks, all seeds: hours; repeat the command to continue
	@code=0; for spec in benches/vectors.toml benches/full.toml; do \
		$(BIN)/braid bench $$spec --jobs $(JOBS) || code=$$?; done; exit $$code

test: $(READY)  ## all tests
	$(BIN)/python -m pytest -q -n auto

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

wheel: $(READY)  ## build the wheel and use it, with a foreign plugin, in a fresh environment
	$(BIN)/python -m pytest -q tests/test_foreign_package.py

setup: $(READY)

# Pinned versions; torch first and alone, so that nothing else can pull in another build of it.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: BRAID needs Python 3.11 or newer, $(PYTHON) is older; try: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -q -c constraints.txt hatchling editables
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $(READY)

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache
