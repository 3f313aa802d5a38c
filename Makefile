# Works with GNU make 3.81 and later. All logic is in .ci/.
# Settings: PYTHON=/path/to/python3.11, ARGS="passed on to the command".

ARGS =
BOOTSTRAP = @sh .ci/bootstrap
BIN = .venv/bin

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo sandbox test lint format types check clean

help:
	@echo 'make demo      see holdfast at work against a sandbox on this machine'
	@echo 'make sandbox   serve that sandbox until Ctrl-C'
	@echo 'make test      run the tests with coverage'
	@echo 'make lint      ruff: rules and formatting'
	@echo 'make format    ruff: mend what can be mended'
	@echo 'make types     mypy and pyright'
	@echo 'make check     everything that CI runs'
	@echo 'make clean     remove what these targets made'

demo:
	$(BOOTSTRAP) cli
	@$(BIN)/holdfast demo $(ARGS)

sandbox:
	$(BOOTSTRAP) cli
	@$(BIN)/holdfast sandbox $(ARGS)

test:
	$(BOOTSTRAP) test
	@$(BIN)/python -m pytest -n 2 --cov --cov-report=term $(ARGS)

lint:
	$(BOOTSTRAP) lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format:
	$(BOOTSTRAP) lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types:
	$(BOOTSTRAP) lint
	$(BIN)/mypy
	$(BIN)/pyright

check:
	@bash .ci/run

clean:
	rm -rf .venv .tools .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
