# Needs Python 3.11 or newer and make; everything else is installed into .venv and .envs.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Two targets at a time: the checks of code and the tests with PyTorch each keep only one core busy.
MAKEFLAGS += --jobs=2

.PHONY: demo docs test check lint types sql words torch consumers neighbours coverage faults bench screenshots bench-peers dist clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# Other MEDS tools that read a dataset in the tests. They need other versions of polars, so they have a separate environment.
# PyTorch is only there: with its dependencies it takes 0.7 to 5 GB.
.envs/consumers/installed: tests/dataset/consumers/requirements.txt
	$(PYTHON) -m venv .envs/consumers
	.envs/consumers/bin/pip install --quiet -r tests/dataset/consumers/requirements.txt
	.envs/consumers/bin/pip install --quiet --no-deps -e .
	touch $@

# Larger readers, which cannot share an environment with the others. `make test` skips their tests.
.envs/neighbours/installed: tests/dataset/consumers/neighbours.txt
	$(PYTHON) -m venv .envs/neighbours
	.envs/neighbours/bin/pip install --quiet -r tests/dataset/consumers/neighbours.txt
	touch $@

# Build a dataset of invented patients, and show one of them.
demo: .venv/installed
	rm -rf demo-output
	$(BIN)/ehrtraj demo demo-output

consumers: .envs/consumers/installed

neighbours: .venv/installed .envs/neighbours/installed
	$(BIN)/pytest tests/dataset/test_neighbours.py

.envs/docs/installed: pyproject.toml
	$(PYTHON) -m venv .envs/docs
	.envs/docs/bin/pip install --quiet -e '.[docs]'
	touch $@

# Write the generated pages and the outputs of examples, then build site/. A broken link is an error. With -P, `import torch`
# finds PyTorch and not tests/torch.
docs: .venv/installed .envs/docs/installed
	$(BIN)/python tests/generated_pages.py
	$(BIN)/python -P tests/test_docs.py
	NO_MKDOCS_2_WARNING=1 .envs/docs/bin/mkdocs build --strict --quiet

check: lint types sql words

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

sql: .venv/installed
	$(BIN)/sqlfluff lint --quiet --processes 1 src/ehrtraj/concepts src/ehrtraj/sources tests/sources/toy_source

words: .venv/installed
	$(BIN)/codespell src tests docs examples benchmarks *.md
	$(BIN)/python tests/style.py

torch: consumers
	.envs/consumers/bin/python -m pytest tests/torch tests/test_docs.py -k torch

# The tests of one file run in one process, because they share built datasets. They start hundreds of commands: where Python
# writes no bytecode (PYTHONDONTWRITEBYTECODE), each of them would compile the package again, which takes 0.2 s.
test: torch check
	$(BIN)/python -m compileall -q src
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

# Report which branches of the code the tests run, by file, including worker processes. It takes longer than the tests alone.
# For some tests only: make coverage TESTS=tests/checks/test_check.py.
TESTS ?= tests
coverage: .venv/installed
	$(BIN)/pytest $(TESTS) -n auto --dist loadfile --cov --cov-report=term:skip-covered

# Kill a build and an export at every change that they make to files, and let the disk fail there. It takes hours.
# At fewer points: make faults POINTS=200.
POINTS ?= all
faults: .venv/installed
	EHRTRAJ_FAULT_POINTS=$(POINTS) $(BIN)/pytest tests/test_faults.py -n auto -rA

bench: .venv/installed
	$(BIN)/python benchmarks/build.py --help
	$(BIN)/python benchmarks/synth.py --help
	$(BIN)/python benchmarks/standardise.py --help
	$(BIN)/python benchmarks/access.py --help
	$(BIN)/python benchmarks/notes.py --help
	$(BIN)/python benchmarks/download.py --help
	$(BIN)/python benchmarks/export.py --help
	$(BIN)/python benchmarks/check.py --help
	$(BIN)/python benchmarks/truth.py --help
	$(BIN)/python benchmarks/learning.py --help
	$(BIN)/python benchmarks/start.py --help
	$(BIN)/python benchmarks/growth.py --help
	$(BIN)/python benchmarks/view.py --help
	$(BIN)/python benchmarks/copies.py --help
	$(BIN)/python benchmarks/peers.py --help

# Write the pictures in docs/images, from synthetic patients. It needs Chromium.
screenshots: .venv/installed
	$(BIN)/python tests/view/screenshots.py

# Compare with MIMIC_IV_MEDS and meds_etl, which are installed in .envs/peers. It takes 10 minutes or more and 5 GB of disk.
# With data that you have: make bench-peers DEMO=mimic-iv-demo MAPS=concept_maps. AGAINST is the command of another ehrtraj.
DEMO ?=
MAPS ?=
AGAINST ?=
OPTIONS ?=
bench-peers: .venv/installed
	$(BIN)/python benchmarks/peers.py $(if $(DEMO),--demo $(DEMO)) $(if $(MAPS),--concept-maps $(MAPS)) \
	  $(if $(AGAINST),--against '$(AGAINST)') $(OPTIONS)

# The sdist, and the wheel that is built from it.
dist: .venv/installed
	rm -rf dist
	$(BIN)/python -m build --no-isolation

clean:
	rm -rf .venv .envs demo-output site dist .coverage*
