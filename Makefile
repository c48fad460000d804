# The verbs a person types. `make run ARGS="--set rlhf.steps=60"` passes arguments on.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile
# On all cores at once, which pip does on one. A few files of packages are templates that do not compile.
COMPILE := $(BIN)/python -m compileall -q -j 0 .venv > /dev/null 2>&1 || true
ARGS ?=

.PHONY: install develop run adapt test test-long lint reference up dashboards bench label-bench loop-demo key-bench reward-bench gpu-check postgres hosts chaos overhead past label-studio
.DEFAULT_GOAL := run

# The programs in .venv name their interpreter by its whole path, so they do not survive a move of the folder.
install: .venv/installed
	@python=$$(sed -n '1s/^#!//p' $(BIN)/chatmill); test -x "$$python" || \
	{ echo "error: .venv was made in another folder ($$python is missing): remove .venv and type the same again" >&2; exit 2; }

# torch by itself and by its exact version first: pip then takes the build that is at hand for this machine.
.venv/installed: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) "$$(grep '^torch==' requirements.txt)"
	$(PIP) -r requirements.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	$(COMPILE)
	$(BIN)/python -m tasks.project.database_templates
	touch $@

develop: .venv/developed

.venv/developed: .venv/installed requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	$(COMPILE)
	touch $@

run: install
	$(BIN)/chatmill run --config configs/demo.yaml $(ARGS)

# An open model, SmolLM2-135M, learns a tone from people's ratings.
adapt: install
	$(BIN)/chatmill run --config configs/adapt.yaml $(ARGS)

lint: develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The tables of docs/configuration.md, from the docstrings of the preset's fields, and docs/commands.md.
reference: develop
	$(BIN)/python -m flows.cli.config_reference
	$(BIN)/python -m flows.cli.command_reference

test: develop
	$(BIN)/python -m pytest $(ARGS)

# Kills of a whole run, training on a second host, the GPU check on a CPU, PostgreSQL under load.
test-long: develop
	$(BIN)/python -m pytest -m long $(ARGS)

dashboards: install
	$(BIN)/chatmill dashboards $(ARGS)

up: install
	$(BIN)/chatmill up $(ARGS)

# The smoke chain over two hosts, as two folders: three minutes.
hosts: develop
	$(BIN)/python -m tests.integration.two_hosts $(ARGS)

# Kills of the smoke chain at seeded moments, half a minute each: `make chaos ARGS="--kills 50 --seed 2"`.
chaos: develop
	$(BIN)/python -m tests.chaos $(ARGS)

bench: develop
	$(BIN)/python -m tests.benchmarks $(ARGS)

# The label page under 50 people at once: milliseconds of an answer. ARGS="--kills 100" kills its server under that load.
label-bench: develop
	$(BIN)/python -m tests.benchmarks.label_page $(ARGS)

# Milliseconds from a key to the next item on the screen, in Chromium. ARGS="--keys 300".
key-bench: develop
	$(BIN)/python -m tests.benchmarks.key_to_paint $(ARGS)

# Reward models from labels with two of five people at random, by both aggregations, after `make run`. ARGS="--seeds 6".
reward-bench: develop
	$(BIN)/python -m tests.benchmarks.reward_aggregation var/cache/artifacts $(ARGS)

# The label loop three times with simulated people: minutes a round. ARGS="--seeds 1 2 3".
loop-demo: develop
	$(BIN)/python -m tests.benchmarks.loop_demo $(ARGS)

# Batches to a real Label Studio and judgements back, in three minutes. It conflicts with the lock file's pandas, so it has an
# environment of its own.
label-studio: develop .venv-label-studio/bin/label-studio
	$(BIN)/python -m tests.integration.label_studio $(ARGS)

.venv-label-studio/bin/label-studio:
	$(PYTHON) -m venv .venv-label-studio
	.venv-label-studio/bin/pip install --quiet --disable-pip-version-check 'label-studio==1.23.*'

# One GPU in at most 8 minutes: right against the CPU, and how fast? On a machine with torch, tokenizers, safetensors and
# transformers alone: `python -m tests.benchmarks.gpu_check`. ARGS="--device cpu --small" tries it without a GPU.
gpu-check: develop
	$(BIN)/python -m tests.benchmarks.gpu_check $(ARGS)

# A thousand tasks on a real PostgreSQL of its own; Debian's package postgresql must be there.
postgres: develop
	$(BIN)/python -m tests.benchmarks.postgres $(ARGS)

# What orchestration and tracking take: the chain by `chatmill run` and as plain functions, in turn. For the demo:
# ARGS="--preset configs/demo.yaml", on a machine that does nothing else.
overhead: develop
	$(BIN)/python -m tests.benchmarks.overhead $(ARGS)

# The commands that look back, on a store with 200 runs.
past: develop
	$(BIN)/python -m tests.benchmarks.past $(ARGS)
