# The verbs of actlab. `make` alone prints them; `make reproduce` is the dependency graph of the notebooks.

PROFILE ?= laptop
PROFILES := smoke laptop paper
# More `-p NAME VALUE` for one notebook: make build/laptop/notebooks/08_constants.ipynb PARAMS='-p seed 1'. Make compares
# files, not parameters: delete the output first. A notebook without that parameter refuses it.
PARAMS ?=
# Parts of `make bench`, for example BENCH='lab isolation'; all by default.
BENCH ?=
# Passed to JupyterLab, for example --no-browser, or --allow-root in a container.
LAB_OPTIONS ?=
# Passed to pip, for example '--extra-index-url URL' or '--find-links FOLDER' for a CPU build of torch.
PIP_OPTIONS ?=
# How pytest spreads the tests' files over the cores; a worker of its own may hold 2 GB.
AT_ONCE ?= -n auto --maxprocesses 4 --dist loadfile
# The first of python3.11 and python3 that is 3.11 or newer.
PYTHON ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# Shells know a variable ENV of their own: from outside only ENV=conda counts.
ifneq ($(origin ENV),command line)
ifneq ($(ENV),conda)
ENV := venv
endif
endif
ifeq ($(filter venv conda,$(ENV)),)
$(error ENV: wanted venv or conda; came '$(ENV)')
endif
ifneq ($(filter reproduce compare-search transfer multiverse lab-records report build/%,$(MAKECMDGOALS)),)
ifneq ($(words $(PROFILE)) $(filter $(PROFILES),$(PROFILE)),1 $(PROFILE))
$(error PROFILE: wanted smoke, laptop or paper; came '$(PROFILE)')
endif
endif

PREFIX := .$(ENV)
PY := $(PREFIX)/bin/python
STAMP := $(PREFIX)/.stamp
STRIP := --keep-output --keep-count --keep-id \
	--extra-keys 'metadata.papermill cell.metadata.papermill cell.metadata.execution'

# One thread a process: results do not hang on the number of cores, and the lab's workers fill the cores themselves.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help env lock test lint reproduce bench compare-search transfer multiverse lab-records paper-lab report clrs-data clrs-all notebooks-refresh readme lab clean

help: ## print these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' Makefile
	@echo "PROFILE=smoke|laptop|paper (now $(PROFILE)), ENV=venv|conda, PYTHON, PIP_OPTIONS and PARAMS may be given."

env: $(STAMP) ## build the environment when it is missing or its inputs changed (ENV=conda: with conda)

# The stamp comes last, so that a half-built environment is never taken as built; without a stamp it starts anew.
.venv/.stamp: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make env: wanted python3.11, or a python3 of 3.11 or newer, on the PATH" \
		"(or PYTHON=/path/to/python); came none" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make env: wanted Python 3.11 or newer; came PYTHON=$(PYTHON)" >&2; exit 2; }
	test -f $@ || $(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install $(PIP_OPTIONS) -c constraints.txt -e '.[test]'
	touch $@

.conda/.stamp: environment.yml pyproject.toml constraints.txt
	@command -v conda >/dev/null || { echo "make env: ENV=conda wanted conda on the PATH; came none" \
		"(without ENV=conda, make builds a .venv with $(or $(PYTHON),Python 3.11))" >&2; exit 2; }
	conda env $$(test -d .conda/conda-meta && echo update --prune || echo create) -p .conda -f environment.yml
	touch $@

lock: ## write constraints.txt anew: what pip takes for pyproject.toml alone, in a throw-away environment
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install $(PIP_OPTIONS) -e '.[test]'
	build/lock/bin/python -m pip freeze --exclude-editable > build/lock/freeze.txt
	sed 's/+[^+ ]*$$//' build/lock/freeze.txt | LC_ALL=C sort -f > build/lock/pins.txt
	@if grep -vE '^[A-Za-z0-9._-]+==[^ +]+$$' build/lock/pins.txt; then \
		echo "make lock: wanted exact pins NAME==VERSION; came the lines above" >&2; exit 1; fi
	@{ echo '# Made by `make lock`: exact pins of everything that pyproject.toml asks for, without local suffixes'; \
		echo '# such as +cpu. A CUDA build of torch brings nvidia-* packages besides, which are not pinned here.'; \
		cat build/lock/pins.txt; } > build/lock/constraints.txt
	mv build/lock/constraints.txt constraints.txt
	rm -rf build/lock

test: $(STAMP) ## ruff, then pytest, then every notebook with nbval: what .ci/run calls
	@echo "== ruff"
	$(PY) -m ruff check .
	@echo "== pytest"
	$(PY) -m pytest $(AT_ONCE) tests
	@echo "== nbval"
	$(PY) -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=600 notebooks/

lint: $(STAMP) ## ruff, and the notebooks' metadata: what pre-commit checks
	$(PY) -m ruff check .
	$(if $(NOTEBOOKS),$(PREFIX)/bin/nbstripout --verify $(STRIP) $(NOTEBOOKS))

bench: $(STAMP) ## measure what the lab, searches, functions and full data sets cost (BENCH: some of its parts) into figures/
	$(PY) -m actlab.report.bench.lab $(BENCH)

compare-search: $(STAMP) ## search by five arms from five seeds with PROFILE, for an hour, into records/; goes on if cut off
	$(PY) -m actlab.search.ablation --profile $(PROFILE)

transfer: $(STAMP) ## train functions on images, molecules and algorithms with PROFILE, into records/; goes on if cut off
	$(PY) -m actlab.transfer.sweep --profile $(PROFILE)

multiverse: $(STAMP) ## score functions in a hundred random labs with PROFILE, into records/; goes on if cut off
	$(PY) -m actlab.studies.multiverse --profile $(PROFILE)

lab-records: $(STAMP) ## train with random constants, seeds and learning rates of PROFILE, into records/; goes on if cut off
	$(PY) -m actlab.studies.lab_records --profile $(PROFILE)

paper-lab: $(STAMP) ## train the zoo on a thousand data sets a suite on a GPU, in minutes, into records/
	$(PY) -m actlab.studies.gpu_lab

# dm-clrs brings TensorFlow and JAX: an environment of its own, 2.9 GB. What it writes is committed.
CLRS_PY := build/clrs/env/bin/python actlab/transfer/clrs_sampler.py
CLRS_LAPTOP := insertion_sort,binary_search,bfs,bellman_ford,activity_selector,lcs_length
CLRS_DATA ?= build/clrs/data

clrs-data: build/clrs/env/.stamp ## sample the committed part of CLRS-30 anew, and dm-clrs's answers for the tests
	$(CLRS_PY) --data data/clrs --algorithms $(CLRS_LAPTOP) --test 256
	$(CLRS_PY) --answers tests/fixtures/clrs_answers.npz

clrs-all: build/clrs/env/.stamp ## sample all of CLRS-30 into CLRS_DATA (build/clrs/data), for the paper profile
	$(CLRS_PY) --data $(CLRS_DATA)

build/clrs/env/.stamp: data/clrs/pins.txt
	$(PYTHON) -m venv --clear build/clrs/env
	build/clrs/env/bin/python -m pip install $(PIP_OPTIONS) -r data/clrs/pins.txt
	touch $@

notebooks-refresh: $(STAMP) ## run the committed notebooks in place, with their own smoke parameters
	$(PY) -m actlab.report.run_notebooks refresh $(NOTEBOOKS)
	$(PREFIX)/bin/nbstripout $(STRIP) $(NOTEBOOKS)

report: $(STAMP) ## build a static site from the executed notebooks into build/PROFILE/report, in seconds and offline
	$(PY) -m actlab.report.site --profile $(PROFILE)

readme: $(STAMP) ## write the tables and numbers of README.md and docs/claims.md anew from the committed figures/
	$(PY) -m actlab.report.readme

lab: $(STAMP) ## open JupyterLab at the explorer: type a function, see its plot, cost and score at once
	$(PY) -m jupyterlab $(LAB_OPTIONS) notebooks/18_explorer.ipynb

# The paper profile's records and checkpoints, hours of a GPU, lie in records/ and checkpoints/, which stay.
clean: ## remove what was built, but neither environment, committed figures, nor the paper profile's transfer
	rm -rf build .pytest_cache .ruff_cache .hypothesis
	rm -f notebooks/*.failed.ipynb notebooks/*.partial.ipynb
	find actlab tests notebooks -name __pycache__ -prune -exec rm -rf {} +

# What each module stands on: itself, and the variables of the modules that it imports. A test holds these lists
# against the imports themselves, so that touching a module runs again whatever depends on it.
STATS       := actlab/core/stats.py
CONFIG      := actlab/core/config.py
RACING      := actlab/search/racing.py $(STATS)
RECORDS     := actlab/core/records.py
PAPER       := actlab/core/paper.py
RULES       := actlab/studies/claim_rules.py $(PAPER)
ACTIVATIONS := actlab/activations/zoo.py
LEARNABLE   := actlab/activations/trainable.py $(ACTIVATIONS)
FEYNMAN     := actlab/lab/feynman.py
BLIND       := actlab/lab/training_view.py
TASKS       := actlab/lab/tasks.py $(BLIND) $(CONFIG) $(FEYNMAN)
BOUNDS      := actlab/candidates/static_bounds.py
LANGUAGE    := actlab/candidates/language.py $(BOUNDS)
PROGRAM     := actlab/candidates/program.py $(BOUNDS) $(LANGUAGE)
TRAITS      := actlab/candidates/profiling.py $(ACTIVATIONS) $(PROGRAM)
PASSES      := actlab/lab/tracing.py
LAB         := actlab/lab/training.py $(BLIND) $(CONFIG) $(PASSES)
WORKER      := actlab/scoring/worker.py $(ACTIVATIONS) $(BLIND) $(CONFIG) $(LAB) $(PROGRAM) $(TRAITS)
MESSAGES    := actlab/scoring/messages.py
CONFINEMENT := actlab/scoring/confinement.py
NURSERY     := actlab/scoring/forkserver.py $(BLIND) $(CONFINEMENT) $(MESSAGES)
SANDBOX     := actlab/scoring/sandbox.py $(BLIND) $(CONFIG) $(MESSAGES) $(NURSERY)
POOL        := actlab/scoring/pool.py $(BLIND) $(CONFIG) $(RECORDS) $(SANDBOX) $(WORKER)
FITNESS     := actlab/scoring/evaluator.py $(ACTIVATIONS) $(CONFIG) $(POOL) $(PROGRAM) $(SANDBOX) $(STATS) $(TASKS) $(TRAITS)
PAPER_LAB   := actlab/studies/gpu_lab.py $(ACTIVATIONS) $(CONFIG) $(FITNESS) $(RECORDS) $(TASKS) $(WORKER)
PROPOSERS   := actlab/search/proposers/__init__.py
SYNTAX      := actlab/search/proposers/syntax.py $(PROPOSERS)
GRAMMAR     := actlab/search/proposers/grammar.py $(SYNTAX)
MIXTURE     := actlab/search/proposers/mixture.py $(PROPOSERS) $(RECORDS)
MODELS      := actlab/search/proposers/models.py $(PROPOSERS)
DATABASE    := actlab/search/database.py
RECORDING   := actlab/search/proposers/recording.py $(DATABASE) $(LANGUAGE) $(MODELS) $(RECORDS)
ARCHIVE     := actlab/search/archive.py $(DATABASE)
ISLANDS     := actlab/search/islands.py $(ARCHIVE) $(CONFIG)
EVOLUTION   := actlab/search/evolution.py $(ACTIVATIONS) $(FITNESS) $(ISLANDS) $(PROGRAM) $(PROPOSERS) $(RACING)
TABLES      := actlab/scoring/summaries.py $(CONFIG) $(STATS)
LABORATORY  := actlab/scoring/laboratory.py $(ACTIVATIONS) $(CONFIG) $(FITNESS) $(PROGRAM) $(RECORDS) $(TASKS)
CHOICE      := actlab/search/selection.py $(ISLANDS) $(LABORATORY) $(SYNTAX) $(TABLES)
DISCOVERY   := actlab/search/runs.py $(CHOICE) $(EVOLUTION) $(GRAMMAR) $(LABORATORY) $(RECORDING) $(RECORDS)
ARMS        := actlab/search/ablation.py $(DISCOVERY) $(SANDBOX)
CONTRASTS   := actlab/search/contrasts.py $(ARMS) $(STATS)
DOWNSTREAM  := actlab/transfer/statistics.py $(PAPER) $(STATS)
STUDIES     := actlab/studies/trust.py $(ACTIVATIONS) $(CONFIG) $(FITNESS) $(LAB) $(LABORATORY) $(PAPER) $(RACING) $(RECORDS) $(TASKS)
LAB_RECORDS := actlab/studies/lab_records.py $(CONFIG) $(LABORATORY) $(RECORDS) $(STUDIES)
CONSTANTS   := actlab/studies/constants.py $(BLIND) $(CONFIG) $(FITNESS) $(LAB) $(LABORATORY) $(LEARNABLE) $(RECORDS) $(STATS) $(TABLES) \
	$(TASKS)
STYLE       := actlab/report/figures/style.py $(ACTIVATIONS)
PLOTTING    := actlab/report/figures/draw.py $(STYLE)
PLOTTING_CONSTANTS := actlab/report/figures/constants.py $(PLOTTING)
PLOTTING_LAB := actlab/report/figures/lab.py $(PLOTTING)
PLOTTING_SEARCH := actlab/report/figures/search.py $(PLOTTING)
PAGE        := actlab/report/page.py $(RECORDS)
SPECTRA     := actlab/studies/spectra.py $(ACTIVATIONS) $(BLIND) $(CONFIG) $(LAB) $(LABORATORY) $(PASSES) $(RECORDS) $(TASKS)
BANDS       := actlab/studies/bands.py $(CONFIG) $(SPECTRA) $(STATS) $(TABLES)
PLOTTING_SPECTRA := actlab/report/figures/spectra.py $(PLOTTING)
PLOTTING_TRANSFER := actlab/report/figures/transfer.py $(PLOTTING)
TAKEHOME    := actlab/report/cards.py $(ACTIVATIONS) $(LEARNABLE) $(PAGE) $(PLOTTING_LAB) $(TABLES)
TRAINING    := actlab/transfer/interface.py actlab/transfer/training.py $(RECORDS)
IMAGES      := $(wildcard actlab/benchmarks/image*.py) $(TRAINING)
MOLECULES   := $(wildcard actlab/benchmarks/molecule*.py) $(TRAINING)
PROBE       := $(wildcard actlab/benchmarks/probe*.py) $(DISCOVERY) $(IMAGES) $(SANDBOX) $(STATS)
ALGORITHMS  := $(wildcard actlab/benchmarks/algorithm*.py) $(TRAINING)
TRANSFER    := actlab/transfer/sweep.py $(ACTIVATIONS) $(ALGORITHMS) $(CONFIG) $(IMAGES) $(MOLECULES)
FLOORS      := actlab/transfer/baselines.py $(DOWNSTREAM) $(TRANSFER)
KINDS       := actlab/transfer/views.py $(DOWNSTREAM) $(STYLE) $(TRANSFER)
UNIVERSE    := actlab/lab/variant.py $(ACTIVATIONS) $(LAB) $(STATS) $(TASKS)
DISTRIBUTION := actlab/studies/distribution.py $(CONFIG) $(UNIVERSE)
MULTIVERSE  := actlab/studies/multiverse.py $(DISTRIBUTION) $(PAPER) $(STUDIES) $(TRANSFER)
ROBUSTNESS  := actlab/studies/robustness.py $(MULTIVERSE) $(RULES)
FORMULA     := actlab/candidates/expression.py $(ACTIVATIONS) $(LANGUAGE)
EXPLORER    := actlab/report/explorer.py $(FORMULA) $(PAGE) $(PLOTTING_LAB) $(STUDIES) $(TABLES)
CLAIMS      := actlab/report/claims.py $(PAPER) $(RECORDS) $(RULES) $(TABLES)
README      := actlab/report/readme.py $(CLAIMS)
PLOTTING_MULTIVERSE := actlab/report/figures/multiverse.py $(PLOTTING)
PLOTTING_TASKS := actlab/report/figures/tasks.py $(PLOTTING)
OF_A_KIND   := $(FLOORS) $(KINDS) $(PAGE) $(PLOTTING_TASKS) $(PLOTTING_TRANSFER) $(TABLES)

NOTEBOOKS := $(filter-out %.failed.ipynb %.partial.ipynb,$(sort $(wildcard notebooks/*.ipynb)))
OUT := build/$(PROFILE)/notebooks
BUILT := $(NOTEBOOKS:notebooks/%=$(OUT)/%)

reproduce: $(BUILT) ## run the notebooks with PROFILE (laptop by default) and draw the paper's figures and tables

# New pins are a reason to run again; an environment that was only built again is not.
$(BUILT): $(OUT)/%.ipynb: notebooks/%.ipynb constraints.txt | $(STAMP)
	$(PY) -m actlab.report.run_notebooks run $< $@ -p profile $(PROFILE) $(PARAMS)

# What each notebook imports itself.
$(OUT)/01_quickstart.ipynb: $(LABORATORY) $(PAGE) $(PLOTTING_LAB) $(TABLES)
$(OUT)/02_synthetic_lab.ipynb: $(LABORATORY) $(PAGE) $(PAPER) $(PLOTTING_LAB) $(STUDIES)
# 03 and 08 read what `make lab-records` wrote.
$(OUT)/03_trust.ipynb: $(wildcard records/lab/*) $(LAB_RECORDS) $(PAGE) $(PLOTTING_LAB) $(STATS) $(STUDIES) $(TABLES)
$(OUT)/04_zoo.ipynb: $(LABORATORY) $(PAGE) $(PAPER) $(PLOTTING_LAB) $(STUDIES) $(TABLES)
$(OUT)/05_search.ipynb: $(DISCOVERY) $(PROBE) $(MIXTURE) $(PAGE) $(PAPER) $(PLOTTING_LAB) $(PLOTTING_SEARCH) $(STUDIES) $(TABLES)
# Scores what the search found, and reads what `make paper-lab` wrote.
$(OUT)/06_lab_scores.ipynb: $(DISCOVERY) $(PAGE) $(PAPER) $(PAPER_LAB) $(PLOTTING_LAB) $(STUDIES) $(TABLES) \
	$(wildcard records/paper_lab/*) $(OUT)/05_search.ipynb
$(OUT)/07_preactivations.ipynb: $(PAGE) $(PLOTTING_LAB) $(STUDIES)
$(OUT)/08_constants.ipynb: $(wildcard records/lab/*) $(CONSTANTS) $(LAB_RECORDS) $(PAGE) $(PLOTTING_CONSTANTS) $(STUDIES) $(TABLES)
# Reads what `make compare-search` wrote.
$(OUT)/09_search_arms.ipynb: $(CONTRASTS) $(PAGE) $(PLOTTING_SEARCH) $(TABLES) $(wildcard records/compare_search*)
# These read what `make transfer` wrote, and the samples that it trained on.
TRANSFERRED := $(wildcard records/transfer/* records/transfer-paper/*)
$(OUT)/10_images.ipynb: $(OF_A_KIND) $(TRANSFERRED)
$(OUT)/11_algorithms.ipynb: $(OF_A_KIND) $(TRANSFERRED) $(wildcard data/clrs/*)
$(OUT)/12_molecules.ipynb: $(OF_A_KIND) $(TRANSFERRED)
$(OUT)/13_transfer.ipynb: $(CLAIMS) $(DOWNSTREAM) $(KINDS) $(LABORATORY) $(PAGE) $(PLOTTING_TRANSFER) $(TABLES) $(TRANSFER) \
	$(TRANSFERRED)
# Reads what `make multiverse` wrote.
$(OUT)/14_multiverse.ipynb: $(PAGE) $(PLOTTING_MULTIVERSE) $(ROBUSTNESS) $(TABLES) $(wildcard records/multiverse*)
$(OUT)/15_why_periodicity.ipynb: $(BANDS) $(PAGE) $(PLOTTING_SPECTRA) $(TABLES)
# Read what the others drew.
$(OUT)/16_claims.ipynb: $(PAGE) $(STYLE) $(README) $(filter-out $(OUT)/16% $(OUT)/17% $(OUT)/18%,$(BUILT))
$(OUT)/17_take_home.ipynb: $(TAKEHOME) $(OUT)/06_lab_scores.ipynb $(OUT)/13_transfer.ipynb $(OUT)/14_multiverse.ipynb
$(OUT)/18_explorer.ipynb: $(EXPLORER)
