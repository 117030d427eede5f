# Everything a checkout can do. Each target sets itself up on a fresh Debian or Ubuntu machine: python3, pip and make suffice.
.DEFAULT_GOAL := help
.PHONY: help demo test check format bench torture dist lock

PYTHON_OF_VENV := .venv/bin/python
ARGS ?=

# Debian keeps daemons such as mosquitto where an ordinary user's PATH does not look.
export PATH := $(PATH):/usr/sbin:/sbin

help:  ## say what can be made (the default)
	@echo "make TARGET, on Debian 12, Ubuntu 22.04 or newer; the first run sets itself up, later ones start at once."
	@echo
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18
	@echo
	@echo "  ARGS=...          more words for the command: make test ARGS='-k alerts -x -n 0', make demo ARGS=--help"
	@echo "  PYTHON=...        the interpreter for .venv: make demo PYTHON=python3.12"
	@echo "  TORCH=any         take torch as pip finds it, several GB of CUDA included (default: the CPU build or none)"
	@echo
	@echo "Everything lands in .venv; 'rm -rf .venv' starts over. What is installed and why: scripts/setup.sh"

demo:  ## hear an invented pump learn its normal sound, fail, and be reported over MQTT
	@scripts/setup.sh demo
	.venv/bin/echo-edge demo $(ARGS)

test:  ## run all tests (installs torch for the CPU, Mosquitto and PulseAudio where it may)
	@scripts/setup.sh test
	$(PYTHON_OF_VENV) -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check:  ## lint, format, types and import contracts: static, under a minute
	@scripts/setup.sh dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format:  ## put the code into shape: ruff's format and its safe mends
	@scripts/setup.sh dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench:  ## measure this machine: milliseconds per window, memory
	@scripts/setup.sh dev
	$(PYTHON_OF_VENV) -m tests.bench $(ARGS)

torture:  ## the long form of every proof that has one: an hour or more
	@scripts/setup.sh test
	$(PYTHON_OF_VENV) -m tests.torture $(ARGS)

dist:  ## build what is released into dist/: wheel, Debian package, SBOM, checksums
	@scripts/setup.sh dev
	@scripts/dist.sh

lock:  ## re-lock after a change of pyproject.toml; UPGRADE=1 moves to the newest versions
	@scripts/lock.sh
