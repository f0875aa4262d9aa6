# The vocabulary of the project; `make` alone prints it.
PYTHON ?= python3
BIN := .venv/bin
STEP := scripts/step
# The same for every cargo command, so that none of them makes another compile PyO3 again: the Python to build for,
# and that its symbols come from the interpreter (there need be no libpython to link).
CARGO_ENV := PYO3_PYTHON="$(CURDIR)/$(BIN)/python" PYO3_BUILD_EXTENSION_MODULE=1
CARGO_AT := --manifest-path native/Cargo.toml
# A rustup that was installed in this login session is not on PATH yet.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin
export PYTHON SYSTEM_PYTHON

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test pytest stress test-system test-sqlalchemy-2.0 test-rust lint fmt bench bench-vectors clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv: the package (editable, release build) and all that tests need
	@scripts/setup.sh

demo: setup ## search Python's documentation by meaning: the main job, end to end
	@$(BIN)/python examples/stdlib_search.py

test: setup ## everything that must pass: pytest and doctests, SQLAlchemy 2.0, a second Python, Rust, lint
	@$(STEP) --show "pytest: tests on every database, doctests" $(BIN)/pytest -q -n 2
	@scripts/test-sqlalchemy-2.0.sh
	@scripts/test-system-python.sh
	@$(MAKE) --no-print-directory test-rust lint

pytest: setup ## only pytest; ARGS="-k columns -x" goes to it
	@$(BIN)/pytest $(ARGS)

stress: setup ## the same state machines and killed writers as in pytest, with many more and longer runs (about an hour)
	@$(STEP) --show "pytest: long runs" env KOHAKUVAULT_STRESS=1 $(BIN)/pytest -q -n 2 tests/test_kvault_state.py \
		tests/test_column_state.py tests/test_column_faults.py tests/test_vector_state.py tests/test_vector_faults.py \
		tests/test_vector_index_state.py tests/test_vector_index_faults.py tests/test_texts_state.py tests/test_texts_faults.py \
		tests/test_ordered.py

test-system: setup ## only the tests of the extension on a second Python
	@scripts/test-system-python.sh

test-sqlalchemy-2.0: setup ## only the tests of the ORM side, on SQLAlchemy 2.0
	@scripts/test-sqlalchemy-2.0.sh

test-rust: setup ## only cargo test
	@$(STEP) --show "cargo test" env $(CARGO_ENV) cargo test $(CARGO_AT) --workspace --locked --quiet

lint: setup ## ruff, mypy --strict, clippy, rustfmt: report only
	@printf '\n'
	@$(STEP) "ruff check" $(BIN)/ruff check .
	@$(STEP) "ruff format --check" $(BIN)/ruff format --check .
	@$(STEP) "mypy --strict" $(BIN)/mypy --strict
	@cargo clippy --version >/dev/null 2>&1 && cargo fmt --version >/dev/null 2>&1 || \
		{ echo "Stopped: cargo has no clippy or no rustfmt; run 'rustup component add clippy rustfmt'." >&2; exit 1; }
	@$(STEP) "clippy" env $(CARGO_ENV) cargo clippy $(CARGO_AT) --workspace --all-targets --locked --quiet -- -D warnings
	@$(STEP) "rustfmt --check" cargo fmt $(CARGO_AT) --all --check

fmt: setup ## format and fix what can be fixed by machine
	@$(STEP) "ruff check --fix" $(BIN)/ruff check --fix-only --quiet .
	@$(STEP) "ruff format" $(BIN)/ruff format .
	@$(STEP) "rustfmt" cargo fmt $(CARGO_AT) --all

bench: setup ## speed beside the raw driver, other packages and numpy; ARGS="--only kv --scale" goes to it
	@scripts/peers.sh
	@$(BIN)/python benchmarks/run.py $(ARGS)

bench-vectors: setup ## vector search beside its peers: tables, targets, a plot; ARGS="--scale", "--sets 100k --kinds rabitq"
	@scripts/peers.sh vector-peers
	@$(BIN)/python benchmarks/vector_bench.py --plot docs/images/vectors.png $(ARGS)

clean: ## remove all that the other commands made
	rm -rf .venv .venv-legacy-* .venv-peers .venv-vector-peers .venv-system .venv-sqlalchemy-2.0 benchmarks/.cache native/target kohakuvault/_native*.so
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
