# One environment, .venv, holds everything; it is brought up to date when what it is made from changes.
#   make demo    the main job, pictures and all, in demo/        make test    all but the long tests
#   make check   lint and format                                 make bench   the benchmarks
#   make docs    the documentation site, in site/

.POSIX:
.PHONY: setup demo test test-long check format bench docs clean

BIN = .venv/bin
STAMP = .venv/installed
DEMO_OUT = demo
TESTS =
# Compiling, which most of a test's time goes to, uses one core.
WORKERS = 2

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt tools/setup.sh
	sh tools/setup.sh
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/jles demo --out $(DEMO_OUT)

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TESTS)

test-long: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m long

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The type checks of the tests cost time, so a benchmark runs without them.
bench: $(STAMP)
	$(BIN)/python -m pytest benchmarks -o addopts=--strict-markers --benchmark-only

# The variable silences an advertisement of the theme.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf .venv site .pytest_cache .ruff_cache .hypothesis .benchmarks
