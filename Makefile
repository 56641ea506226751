# make demo   sets everything up and runs the demonstration          make test   sets everything up and runs the tests
# make check  the linters and the quick tests, in a minute            make lint   make docs   make lock   make clean
# make run EXPERIMENT=vi4dvar
# make chaos FAULTS=100 SEED=0   disturbs a small study at random, and holds it against an undisturbed one: in tasks, in runs of
#                                the workflow and, where it is installed, on Slurm; FLAGS="--level workflow" picks a level
# make benchmarks   speed beside peers, by turns, in results/benchmarks/page.md: half an hour of one processor; a clone of
#                VI-4DVAR that is there already is named by VI4DVAR=FOLDER
# make literature   analysis errors of cycling methods beside published ones
#
# A machine with a GPU takes its own build of torch: make demo TORCH="torch==2.13.0 --index-url <your index>"

PYTHON     ?= python3
TORCH      ?= torch==2.13.0
EXPERIMENT ?= demo
PROFILE    ?= profiles/local
TESTS      ?= tests
WORKERS    ?= 2
FLAGS      ?=
FAULTS     ?= 100
SEED       ?= 0
LOCK_FLAGS ?=

LITERATURE := lorenz96_cycling,lorenz96_cycling_sparse,lorenz96_cycling_bocquet2010,lorenz63_cycling

PEERS   := rollouts sbi lampe exponax jax_cfd torch_cfd
VI4DVAR ?= .peers/vi4dvar

BIN   := .venv/bin
READY := .venv/.ready
BENCH := OMP_NUM_THREADS=1 $(BIN)/python benchmarks
TO    := --json results/benchmarks

# Set-up compiles no package: most of their modules are never imported, and those that are must be compiled but once.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.PHONY: setup demo run report literature chaos benchmarks test check quick lint docs lock triton clean

setup: $(READY)

demo: EXPERIMENT := demo
demo: run

run: $(READY)
	$(BIN)/posterity run "$(EXPERIMENT)" --profile $(PROFILE) -- $(FLAGS)

report: $(READY)
	$(BIN)/snakemake --profile $(PROFILE) reports --config "experiments=$(EXPERIMENT)" $(FLAGS)

literature: $(READY)
	$(BIN)/snakemake --profile $(PROFILE) literature --config experiments=$(LITERATURE) $(FLAGS)

chaos: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python tests/chaos --faults $(FAULTS) --seed $(SEED) $(FLAGS)

# Each peer has an environment of its own, some beside torch; VI-4DVAR is a clone.
benchmarks: $(READY) $(PEERS:%=.peers/%/.ready) $(VI4DVAR)
	mkdir -p results/benchmarks
	$(BENCH)/rollouts.py --peers .peers/rollouts/bin/python $(TO)/rollouts.json
	$(BENCH)/vi4dvar.py $(VI4DVAR) --threads 1 --cpu --seeds 0 $(TO)/vi4dvar.json
	$(BENCH)/filters.py --peers .peers/rollouts/bin/python --repeats 3 $(TO)/filters.json
	$(BENCH)/estimators.py --sbi .peers/sbi/bin/python --lampe .peers/lampe/bin/python $(TO)/estimators.json
	$(BENCH)/kolmogorov.py --exponax .peers/exponax/bin/python --jax-cfd .peers/jax_cfd/bin/python \
		--torch-cfd .peers/torch_cfd/bin/python --repeats 3 $(TO)/kolmogorov.json
	$(BENCH)/methods.py $(TO)/methods.json
	$(BENCH)/samplers.py $(TO)/samplers.json
	$(BIN)/python benchmarks/page.py results/benchmarks

.peers/%/.ready: benchmarks/requirements/%.txt
	$(PYTHON) -m venv --clear .peers/$*
	$(if $(filter sbi lampe torch_cfd,$*),.peers/$*/bin/python -m pip install --quiet $(TORCH))
	.peers/$*/bin/python -m pip install --quiet -r $<
	@touch $@

.peers/vi4dvar:
	git clone --quiet --depth 1 https://github.com/ArFiloche/VI-4DVAR $@

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS) $(FLAGS)

# Side by side: mypy takes one processor for as long as most of the tests take.
check: $(READY)
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint quick

quick: $(READY)
	@$(MAKE) --no-print-directory test FLAGS="-q -m 'not slow and not workflow and not slurm' $(FLAGS)"

lint: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow && $(BIN)/snakemake --lint
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html

# Debian's Python has venv but not always ensurepip: then the system's pip installs the first one.
.venv/bin/python:
	$(PYTHON) -m venv .venv 2>/dev/null || $(PYTHON) -m venv --clear --without-pip .venv
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m pip --python $(BIN)/python install --quiet pip

$(READY): .venv/bin/python requirements/lock.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --no-compile $(TORCH)
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --require-hashes -r requirements/lock.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	@touch $@

# 3.11.7, not 3.11: uv reads that as 3.11.0, and pins packages older than pip would take.
lock: $(READY)
	$(BIN)/uv pip compile --python-version 3.11.7 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --no-emit-package torch \
	  $(LOCK_FLAGS) requirements/core.in requirements/dev.in -o requirements/lock.txt
	$(BIN)/uv pip compile --python-version 3.11.7 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links $(LOCK_FLAGS) requirements/triton.in -o requirements/triton.txt

# Kernels for GPUs are tested without one, by Triton, which builds of torch for CPUs do not bring: 200 MB to download.
triton: $(READY)
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --require-hashes -r requirements/triton.txt

clean:
	rm -rf .venv .peers .snakemake results docs/_build docs/auto_gallery
