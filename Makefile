# Works with GNU make 3.81 and later. All logic is in .ci/.
# Settings: PYTHON=/path/to/python3.11, ARGS="passed on to the command".

ARGS =
BOOTSTRAP = @sh .ci/bootstrap
BIN = .venv/bin

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo sandbox test planted ledger race blocking simulate storm cost bench micro matrix upstream lint format types check clean

help:
	@echo 'make demo      see holdfast at work against a sandbox on this machine'
	@echo 'make sandbox   serve that sandbox until Ctrl-C'
	@echo 'make test      run the tests with coverage'
	@echo 'make planted   plant ten bugs, one at a time, and show which test catches each'
	@echo 'make ledger    hold 300 000 verdicts against the books of a failing bank, and rivals beside them: 10 minutes'
	@echo 'make race      the idle-connection race, with and without Expect: 100-continue'
	@echo 'make blocking  calls from 32 threads, beside requests and beside asyncio.run for each call'
	@echo 'make simulate  a million more on a virtual clock: 10 minutes'
	@echo 'make storm     retry storms: six strategies in five faults, on a virtual clock, with a plot: 25 minutes'
	@echo 'make cost      what the protections cost on the way of a call that succeeds'
	@echo 'make micro     what each function of the core costs, and what it adds to a call: 1 minute'
	@echo 'make bench     what a call costs, beside bare aiohttp and every alternative, with a plot: 10 minutes'
	@echo 'make matrix    the tests on every Python here, with every aiohttp that we promise: half an hour'
	@echo 'make upstream  run the tests of aiohttp itself against our session, and name the differences: 10 minutes'
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

planted:
	$(BOOTSTRAP) test
	@$(BIN)/python -m tests.planted.table

ledger:
	$(BOOTSTRAP) bench
	@$(BIN)/python -m benchmarks.ledger $(ARGS)

blocking:
	$(BOOTSTRAP) bench
	@$(BIN)/python -m benchmarks.blocking $(ARGS)

race:
	$(BOOTSTRAP) test
	@$(BIN)/python -m benchmarks.idle_race $(ARGS)

simulate:
	$(BOOTSTRAP) test
	@$(BIN)/python -m benchmarks.simulate $(ARGS)

storm:
	$(BOOTSTRAP) bench
	@$(BIN)/python -m benchmarks.storm $(ARGS)

cost:
	$(BOOTSTRAP) test
	@$(BIN)/python -m benchmarks.protection_cost $(ARGS)

micro:
	$(BOOTSTRAP) bench
	@$(BIN)/python -m benchmarks.micro $(ARGS)

bench:
	$(BOOTSTRAP) bench
	@$(BIN)/python -m benchmarks.speed $(ARGS)

matrix:
	$(BOOTSTRAP) test
	@$(BIN)/python -m benchmarks.matrix $(ARGS)

upstream:
	$(BOOTSTRAP) test
	@$(BIN)/python -m benchmarks.upstream $(ARGS)

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
