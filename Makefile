# alos2tut: `make` alone lists what there is. All paths are relative, so that the folder may bear any name.
# PYTHON=python3.12 picks the interpreter; PIP_ARGS="..." goes to pip, which reads PIP_INDEX_URL by itself.

PYTHON ?= python3
PIP_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help tutorial test test-browser lab lint soak bench bench-science site pages venv clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

tutorial: .venv/.installed ## run notebooks 01-05 and say where the results lie
	@.venv/bin/python notebooks/run_all.py

test: .venv/.installed ## run the tests
	@.venv/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-browser: .venv/.browser ## try the notebooks' sliders and pictures in Chromium, which has to be installed
	@.venv/bin/python -m pytest -q -s -m browser tests/tutorial/test_browser.py

lab: .venv/.installed ## open the notebooks in JupyterLab
	@.venv/bin/python -m jupyterlab --ServerApp.root_dir="$(CURDIR)" \
	    --LabApp.default_url=/lab/tree/notebooks/01_read_and_inspect.ipynb

lint: .venv/.installed ## check style, types and that imports only go down
	@.venv/bin/python -m ruff check .
	@.venv/bin/python -m ruff format --check .
	@.venv/bin/python -m mypy
	@.venv/bin/lint-imports

soak: .venv/.installed ## run the long tests, and the properties on many more examples
	@.venv/bin/python -m pytest -m "soak or hypothesis" --hypothesis-profile soak

bench: .venv/.installed ## measure speed and memory
	@.venv/bin/python benchmarks/measure.py

bench-science: .venv/.installed ## measure what pretraining is worth, on simulated ground: hours, and goes on where it stopped
	@.venv/bin/python benchmarks/evidence.py science --workers 2 --work work/evidence --runs work/evidence/runs

site: .venv/.docs ## build the documentation in work/site, with the notebooks as `make tutorial` left them
	@.venv/bin/python -m sphinx -q -n -W --keep-going -j auto -b html docs work/site
	@.venv/bin/python -m pytest -q tests/test_site.py
	@echo "Open work/site/index.html in a browser."

pages: .venv/.docs ## check the pages, links and docstrings of the documentation without building it
	@.venv/bin/python -m sphinx -q -n -W --keep-going -b dummy docs work/pages

venv: .venv/.installed ## build .venv, which all the others do by themselves

clean: ## remove results and caches; .venv stays
	@rm -rf work notebooks/work docs/notebooks docs/api build dist .pytest_cache .hypothesis .ruff_cache .mypy_cache
	@find . \( -name .venv -o -name .git \) -prune -o \
	    -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	@rm -rf .venv alos2tut.egg-info

# The stamp holds the folder's path: a .venv is full of absolute paths, so one that was moved is built anew.
ifneq "$(shell cat .venv/.installed 2>/dev/null)" "$(CURDIR)"
.PHONY: .venv/.installed
endif

.venv/.installed: pyproject.toml constraints.txt
	@here="$$(pwd -P)"; \
	if [ "$$(cat .venv/.installed 2>/dev/null || echo "$$here")" != "$$here" ] \
	        || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then \
	    "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	        echo "alos2tut needs Python 3.11 or newer, and '$(PYTHON)' is not. Name one: make PYTHON=python3.12 ..." >&2; \
	        exit 1; }; \
	    "$(PYTHON)" -m venv --clear .venv; \
	fi
	@rm -f .venv/.installed
	@echo "Installing into .venv. The first time this downloads up to 3.3 GB; README.md says how to take less."
	@.venv/bin/python -m pip install $(PIP_ARGS) -c constraints.txt -e ".[train,notebooks,xarray,nisar,dev]"
	@pwd -P > .venv/.installed

.venv/.docs .venv/.browser: .venv/.%: .venv/.installed
	@.venv/bin/python -m pip install $(PIP_ARGS) -c constraints.txt -e ".[$*]"
	@touch $@
