# Everything happens in .venv; pip runs again only when pyproject.toml or constraints.txt changed.
# What is imported is compiled then (--no-compile): most of what is installed never is. INSTALL="uv
# pip install --python .venv/bin/python" takes a quarter of the time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL ?= $(BIN)/python -m pip install --disable-pip-version-check --no-compile

EXTRAS_demo := cli,plot
EXTRAS_dev := dev,cli,plot,glyphs,server
EXTRAS_bench := bench,cli,plot

.DEFAULT_GOAL := help
# What the dashboard shows: the last two commits, or any range of git's.
COMMITS ?= HEAD~2..HEAD
# Files of tests run side by side, one a core (with more than that each waits longer for the others);
# PARALLEL= runs them one after the other. Beyond eight the compiler's memory counts for more than time.
PARALLEL ?= -n logical --maxprocesses 8

# Where Python is told to keep no compiled modules, every process would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test lint bench compare dashboard serve soak dev clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-demo ## Train on real handwritten digits, predict one, draw the curve
	@mkdir -p demo
	$(BIN)/nbmlp train --data digits --hidden 300 --input-dropout 0.2 --learning-rate 0.003 \
	  --epochs 200 --validation 0.1 \
	  --out demo/model.safetensors --plot demo/learning-curve.png
	$(BIN)/nbmlp predict demo/model.safetensors --data digits --row 0

test: $(VENV)/.installed-dev ## Install what the tests need and run them
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

lint: $(VENV)/.installed-dev ## Check style, types and the floors
	$(BIN)/ruff check .
	$(BIN)/mypy --strict nbmlp/
	$(BIN)/lint-imports

bench: $(VENV)/.installed-bench ## Run the benchmarks once, quickly, on this checkout
	$(BIN)/asv machine --yes
	$(BIN)/asv run --quick --show-stderr --python=same --dry-run $(ARGS)

compare: $(VENV)/.installed-bench ## Compare speeds with the peers that are installed
	$(BIN)/python -m bench.compare $(ARGS)

dashboard: $(VENV)/.installed-bench ## Benchmark COMMITS in environments of their own, build the site
	$(BIN)/asv machine --yes
	$(BIN)/asv run --skip-existing-successful --show-stderr $(COMMITS) $(ARGS)
	$(BIN)/asv publish
	$(BIN)/python -m bench.dashboard .asv/html

serve: $(VENV)/.installed-bench ## Show the dashboard at http://127.0.0.1:8080
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory .asv/html 8080

soak: $(VENV)/.installed-dev ## Run the long tests
	$(BIN)/python -m pytest -m soak tests/soak $(ARGS)

dev: $(VENV)/.installed-dev ## Only install what tests and checks need

clean: ## Remove the environment and all that was made in it
	rm -rf $(VENV) demo dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache \
	  .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A new Python, or an installation that broke off, starts from an empty folder.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "nbmlp needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed-%: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "Installing nbmlp[$(EXTRAS_$*)] into $(VENV); the first time takes a minute or two."
	$(INSTALL) --quiet -c constraints.txt -e ".[$(EXTRAS_$*)]"
	@touch $@
