# Everything starts from a clean clone with Python >= 3.11 and make.
PYTHON ?= python3
VENV ?= .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-gpu bench lint format clean

demo: $(VENV)/.installed
	$(BIN)/scarseg-infer --demo

test: $(VENV)/.installed-test lint
	$(BIN)/python -m pytest

# On a machine with an NVIDIA GPU: fails instead of skipping where there is none.
test-gpu: $(VENV)/.installed-test
	$(BIN)/python -m scarseg_runtime.gpu
	$(BIN)/python -m pytest -m gpu

bench: $(VENV)/.installed-test
	$(BIN)/scarseg-bench --out bench-result

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

clean:
	rm -rf $(VENV) build dist scarseg-demo bench-result .pytest_cache .mypy_cache .ruff_cache .hypothesis
