# The two commands of the README, and the pieces that they are made of.
.DEFAULT_GOAL := help
.PHONY: help demo test test-fast bench lint setup setup-test readme docs lab clean

PYTHON := .venv/bin/python

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: setup ## set everything up and run the main job on the built-in corpus
	.venv/bin/tiktok-mm demo

test: setup-test ## set everything up and pass every check
	scripts/test.sh

test-fast: setup ## the checks that take less than a minute: no browser, no training
	scripts/test_fast.sh

BENCHMARKS := speed speech training
bench: setup ## run the benchmarks beside other libraries and store their outputs: about 40 minutes on two quiet cores
	scripts/bench.sh $(BENCHMARKS)

lint: setup ## check the style of the code and its types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check nbs tests scripts setup.py
	.venv/bin/mypy

setup: ## create or update .venv
	@scripts/setup.sh

setup-test: ## the same, and Chromium with its driver and Xvfb for the browser tests
	@scripts/setup.sh --browser

readme: setup ## write README.md from nbs/index.ipynb
	$(PYTHON) scripts/readme.py

docs: setup ## build the documentation site into _docs
	$(PYTHON) scripts/docs.py

lab: setup ## open the notebooks
	.venv/bin/jupyter lab nbs

clean: ## remove the environment and everything that was made
	rm -rf .venv demo _docs _proc build *.egg-info
