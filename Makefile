# The environment is made by Python's own venv and pip, and made again only when pyproject.toml or the pins change.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
TEXT := configs/word-count.txt
CONFIG ?=

# Thousands of interpreters are started: what one of them has compiled, the others find.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup run test-sandbox bench check clean

setup: $(READY) $(TEXT)

$(READY): pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt --editable '.[test]'
	touch $@

# 20 MB for the workers to work at; another Python's sources would do as well, so a new environment does not make it anew.
$(TEXT): sandbox/programs/corpus.py | $(READY)
	$(BIN)/python -m sandbox.programs.corpus $@

# Three processes introduce one another, over each of the four protocols.
run: setup
	$(BIN)/imclab run -v configs/introduction.imclab.yaml

# Every test and every cell of every config, or the cells of one: make test-sandbox CONFIG=configs/global-fd.imclab.yaml
# Three processes a core, for tests wait for deadlines; who has no tests left takes over others'.
test-sandbox: setup
	$(BIN)/python -m pytest --numprocesses $(if $(CONFIG),2,6) --dist worksteal $(CONFIG)

# What it costs, beside what others cost: a table, bench.json and bench.svg.
bench: setup
	$(BIN)/imclab bench

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis $(TEXT)*
