# Everything starts from a clean clone with Python >= 3.11 and make.
PYTHON ?= python3
VENV ?= .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
LOWEST_BIN := .venv-lowest/Scripts
else
BIN := $(VENV)/bin
LOWEST_BIN := .venv-lowest/bin
endif
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# What the tests of the shipped packages are, beside those that need torch. Not tests/web, which hold
# another language against the same results.
SHIPPED_TESTS = $(wildcard tests/runtime tests/infer tests/node tests/mrd tests/cohort tests/fuzz tests/test_*.py)
# Not test_openapi.py: the schemathesis that passes it, a tool of the tests, needs newer tools than the
# lowest of the others. Not how the node bears peers and callers that fall silent, stops and deaths,
# nor turned images: our own queue, sockets and arithmetic, the same with any release. What it receives,
# reads, makes and sends is in its other tests.
NOT_AT_LOWEST = $(patsubst %,--ignore=tests/%.py,node/test_openapi node/test_survives node/test_stopping \
    node/test_stalled_peers node/test_endless_archives node/test_power_loss node/test_http_limits \
    infer/test_any_angle)
# Of their slow tests those that an older release can break: clusters of the lowest Ray. Kill loops,
# fuzzing, hosts in C++ and JavaScript and memory over many runs hold our own code against itself, too.
# So do the two that start Ray a dozen times to try our journal; each other of its uses is in the rest.
SHIPPED_SLOW_TESTS = $(wildcard tests/cohort) $(patsubst %,--deselect=tests/cohort/test_cohort.py::test_%, \
    ids_that_move_and_studies_that_break one_machine_goes_on_where_it_stopped)
# What the bill of materials is of: all that is deployed without a GPU; tensorrt-rtx … may be added.
SBOM_EXTRAS ?= openvino,compressed,ecg-formats,pdf,node,dicomweb,mrd,cohort

# Tests at a time, where there are two cores: of servers half wait. The long ones compute.
JOBS ?= 3
SLOW_JOBS ?= 2
# By files, as the tests of one share what takes longest: a training, a server, a build.
PARALLEL = --dist loadfile --no-loadscope-reorder --durations=10
# The files that hold marked tests, as $(call marked,MARK,TESTS): a lane of few tests need not import
# all others. The longest come first, so that no core waits for one of them in the end.
found = $(shell grep -rlE 'mark\.$(1)\b' --include='test_*.py' $(or $(2),tests) | sort -r)
long_first = $(filter tests/web/% tests/export/%,$(1)) $(filter-out tests/web/% tests/export/%,$(1))
marked = $(or $(strip $(call long_first,$(call found,$(1),$(2)))),$(2))
# The lanes of tests, as $(call fast,PYTHON,TESTS,OPTIONS), all where TESTS is empty, and
# $(call slow,PYTHON): several at a time, then one by one those that measure the machine or need all of
# it. CONTRIBUTING.md says what the marks mean.
define fast
OMP_NUM_THREADS=1 $(1) -m pytest -n $(JOBS) $(PARALLEL) -m "not slow and not serial" $(3) $(2)
$(1) -m pytest --durations=10 -m "not slow and serial" $(3) \
    $(filter-out $(patsubst --ignore=%,%,$(3)),$(call marked,serial,$(2)))
endef
define slow
OMP_NUM_THREADS=1 $(1) -m pytest -n $(SLOW_JOBS) $(PARALLEL) -m "slow and not serial" $(call marked,slow)
$(1) -m pytest --durations=10 -m "slow and serial" $(call marked,serial)
endef

.PHONY: demo test test-slow test-all test-lowest test-gpu bench docs web sbom lint format clean

demo: $(VENV)/.installed
	$(BIN)/scarseg-infer --demo

# What every change needs: minutes.
test: $(VENV)/.installed-test lint
	$(call fast,$(BIN)/python)

# Real clusters, kill loops, fuzzing, memory over many runs, other languages' package managers, training.
test-slow: $(VENV)/.installed-test
	$(call slow,$(BIN)/python)

# One after the other, also under make -j.
test-all: test
	$(MAKE) test-slow

# The other end of the ranges in pyproject.toml: `make test-all` takes the newest releases for its
# Python, this the lowest. With PYTHON=python3.11, for which all of these have wheels; without torch,
# so not tests/export, and without playwright and tensorrt-rtx, whose test modules skip here.
test-lowest: .venv-lowest/.installed
	$(call fast,$(LOWEST_BIN)/python,$(SHIPPED_TESTS),$(NOT_AT_LOWEST))
	$(LOWEST_BIN)/python -m pytest --durations=10 -m slow $(SHIPPED_SLOW_TESTS)

# On a machine with an NVIDIA GPU: fails instead of skipping where there is none.
test-gpu: $(VENV)/.installed-test
	$(BIN)/python -m scarseg_runtime.providers.gpu
	$(BIN)/python -m pytest -m gpu

bench: $(VENV)/.installed-test
	$(BIN)/scarseg-bench --out bench-result

docs: $(VENV)/.installed-test
	$(BIN)/python -m mkdocs build --strict

# One static page for a browser, build/scarseg.html; needs Node 20 with npm. Their packages stay in build/web.
web: $(VENV)/.installed
	@mkdir -p build
	$(BIN)/scarseg-web --work build/web -o build/scarseg.html

# Of what is installed for deployment, in an environment that holds nothing else, not even pip.
sbom: $(VENV)/.installed-test
	$(PYTHON) -m venv --clear --without-pip .venv-sbom
	$(BIN)/python -m pip --python .venv-sbom install --quiet --disable-pip-version-check \
	    -c constraints.txt '.[$(SBOM_EXTRAS)]'
	$(BIN)/python bench/sbom.py .venv-sbom -o sbom.cdx.json

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e '.[export,nnunet,test]'
	@touch $@

.venv-lowest/.installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv --clear .venv-lowest
	$(LOWEST_BIN)/python -m pip install --quiet --disable-pip-version-check \
	    -c constraints-lowest.txt -e '.[test-shipped]'
	@touch $@

clean:
	rm -rf $(VENV) .venv-lowest .venv-sbom sbom.cdx.json build dist scarseg-demo bench-result .pytest_cache .mypy_cache .ruff_cache .hypothesis
