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
# JupyterLab asks no question about its news, fetches none, and does not look for its updates.
LAB_SETTINGS := {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}
LAB_OFFLINE := --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate
# Passed to pip, for example '--extra-index-url URL' or '--find-links FOLDER' for a CPU build of torch.
PIP_OPTIONS ?=
# Processes side by side with as many threads each as there are cores wait for each other: twice the time.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
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
ifneq ($(filter reproduce compare-search transfer multiverse generality lab-records report build/%,$(MAKECMDGOALS)),)
ifneq ($(words $(PROFILE)) $(filter $(PROFILES),$(PROFILE)),1 $(PROFILE))
$(error PROFILE: wanted smoke, laptop or paper; came '$(PROFILE)')
endif
endif

PREFIX := .$(ENV)
PY := $(PREFIX)/bin/python
STAMP := $(PREFIX)/.stamp
STRIP := --keep-output --keep-count --keep-id \
	--extra-keys 'metadata.papermill cell.metadata.papermill cell.metadata.execution'

# One thread a process: results do not depend on the number of cores, and the lab's workers fill the cores themselves.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help env lock test lint reproduce bench compare-search transfer multiverse generality lab-records paper-lab records report clrs-data clrs-all notebooks-refresh readme lab screenshots clean

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

test: $(STAMP) ## ruff, the layers of imports, pytest, then every notebook with nbval: what .ci/run calls
	@echo "== ruff"
	$(PY) -m ruff check .
	@echo "== layers"
	$(PREFIX)/bin/lint-imports --no-logo
	@echo "== pytest"
	$(ONE_THREAD) $(PY) -m pytest $(AT_ONCE) tests
	@echo "== nbval"
	$(ONE_THREAD) $(PY) -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=600 notebooks/

lint: $(STAMP) ## ruff, and the notebooks' metadata: what pre-commit checks
	$(PY) -m ruff check .
	$(if $(NOTEBOOKS),$(PREFIX)/bin/nbstripout --verify $(STRIP) $(NOTEBOOKS))

bench: $(STAMP) ## measure what the lab, searches, functions and full data sets cost (BENCH: some of its parts) into figures/
	$(PY) -m actlab bench $(BENCH)

compare-search: $(STAMP) ## search by five arms from five seeds with PROFILE, for an hour, into records/; goes on if cut off
	$(PY) -m actlab ablation --profile $(PROFILE)

transfer: $(STAMP) ## train functions on images, molecules and algorithms with PROFILE, into records/; goes on if cut off
	$(PY) -m actlab transfer --profile $(PROFILE)

multiverse: $(STAMP) ## score functions in a hundred random labs with PROFILE, into records/; goes on if cut off
	$(PY) -m actlab multiverse --profile $(PROFILE)

generality: $(STAMP) ## search in one lab and over many with PROFILE, judged in others, into records/; goes on if cut off
	$(PY) -m actlab generality --profile $(PROFILE)

lab-records: $(STAMP) ## train with random constants, seeds and learning rates of PROFILE, into records/; goes on if cut off
	$(PY) -m actlab lab-records --profile $(PROFILE)

paper-lab: $(STAMP) ## train the zoo on a thousand data sets a suite on a GPU, in minutes, into records/
	$(PY) -m actlab gpu-lab

records: $(STAMP) ## say of each family of committed records what made them and whether this code still computes them
	$(PY) -m actlab records

# dm-clrs brings TensorFlow and JAX: an environment of its own, 2.9 GB. What it writes is committed.
CLRS_PY := build/clrs/env/bin/python data/clrs/sample.py
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
	$(PY) -m actlab notebooks refresh $(NOTEBOOKS)
	$(PREFIX)/bin/nbstripout $(STRIP) $(NOTEBOOKS)

report: $(STAMP) ## build a static site from the executed notebooks into build/PROFILE/report, in seconds and offline
	$(PY) -m actlab report --profile $(PROFILE)

readme: $(STAMP) ## write the tables and numbers of README.md and docs/claims.md anew from the committed figures/
	$(PY) -m actlab readme

lab: $(STAMP) candidates/explorer.ipynb ## open JupyterLab at the explorer: type a function, see its plot, cost and score
	@mkdir -p build/jupyter/labconfig
	@echo '$(LAB_SETTINGS)' >build/jupyter/labconfig/default_setting_overrides.json
	JUPYTER_CONFIG_PATH="$(CURDIR)/build/jupyter:$$JUPYTER_CONFIG_PATH" $(PY) -m jupyterlab --ServerApp.root_dir='$(CURDIR)' --LabApp.default_url=/lab/tree/candidates/explorer.ipynb \
		$(LAB_OFFLINE) $(LAB_OPTIONS)

# A copy, which git ignores, so that running it changes no committed file; an older copy is kept beside it.
candidates/explorer.ipynb: notebooks/19_explorer.ipynb
	mkdir -p $(@D)
	test ! -e $@ || mv $@ $(@D)/explorer.before.ipynb
	cp $< $@

screenshots: $(STAMP) ## look at the explorer in Debian's chromium, by npm's playwright-core: build/screenshots/
	@if command -v node >/dev/null; then node tests/screenshots.cjs $(abspath $(PREFIX))/bin/python; \
		else echo "make screenshots: skipped: wanted node on the PATH; came none"; fi

# The paper profile's records and checkpoints, hours of a GPU, lie in records/ and checkpoints/, which stay.
clean: ## remove what was built, but neither environment, committed figures, nor the paper profile's transfer
	rm -rf build .pytest_cache .ruff_cache .hypothesis
	rm -f notebooks/*.failed.ipynb notebooks/*.partial.ipynb
	find actlab tests notebooks -name __pycache__ -prune -exec rm -rf {} +

NOTEBOOKS := $(filter-out %.failed.ipynb %.partial.ipynb,$(sort $(wildcard notebooks/*.ipynb)))
OUT := build/$(PROFILE)/notebooks
BUILT := $(NOTEBOOKS:notebooks/%=$(OUT)/%)

reproduce: $(BUILT) ## run the notebooks with PROFILE (laptop by default) and draw the paper's figures and tables

# Which notebook of how many, and how long it and all of them take on 2 cores: from the tables of the guide.
TIMES = /^. [0-9][0-9] \[/ {n++} index($$0, "/$*.ipynb)") {k = n; took = $$$(if $(filter smoke,$(PROFILE)),5,4)} \
	$$2 == "`make reproduce$(if $(filter smoke,$(PROFILE)), PROFILE=smoke)`" {all = $$4} \
	END {printf "$*: %d of %d$(if $(filter paper,$(PROFILE)),,; %s on 2 cores, all of them %s)\n", k, n, took, all}

# New pins are a reason to run again; an environment that was only built again is not.
$(BUILT): $(OUT)/%.ipynb: notebooks/%.ipynb constraints.txt | $(STAMP)
	@awk -F ' *[|] *' '$(TIMES)' docs/guide.md
	$(PY) -m actlab notebooks run $< $@ -p profile $(PROFILE) $(PARAMS)

# What each notebook imports, through other modules too, so that touching a module runs again whatever stands on it.
GRAPH := build/graph.mk
$(GRAPH): $(NOTEBOOKS) $(shell find actlab -name '*.py')
	@mkdir -p $(@D)
	@$(or $(PYTHON),python3) -m actlab.core.sources > $@
ifneq ($(filter reproduce report build/%,$(MAKECMDGOALS)),)
include $(GRAPH)
endif

# What notebooks read besides: committed records, samples, and what other notebooks draw.
$(OUT)/03_trust.ipynb $(OUT)/08_constants.ipynb: $(wildcard records/lab/*)
$(OUT)/06_lab_scores.ipynb: $(OUT)/05_search.ipynb $(wildcard records/gpu_lab/*)
$(OUT)/09_search_arms.ipynb: $(wildcard records/ablation/*)
$(addprefix $(OUT)/,10_images.ipynb 11_algorithms.ipynb 12_molecules.ipynb 13_transfer.ipynb): \
	$(wildcard records/transfer/* records/transfer-paper/*)
$(OUT)/11_algorithms.ipynb: $(wildcard data/clrs/*)
$(OUT)/14_multiverse.ipynb: $(wildcard records/multiverse/*)
$(OUT)/15_generality.ipynb: $(wildcard records/generality/*)
$(OUT)/17_claims.ipynb: $(filter-out $(OUT)/17% $(OUT)/18% $(OUT)/19%,$(BUILT))
$(OUT)/18_take_home.ipynb: $(OUT)/06_lab_scores.ipynb $(OUT)/13_transfer.ipynb $(OUT)/14_multiverse.ipynb
