# Two commands do everything on a fresh machine: make run, make test. Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: run window test cuda-proof soak lint clean

$(BIN)/dynsim: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dynsim needs Python 3.11 or newer; try: make PYTHON=python3.11")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'On Debian and Ubuntu: apt install python3-venv'; exit 1; }
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/tested: $(BIN)/dynsim
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

run: $(BIN)/dynsim
	$(BIN)/dynsim run scenarios/mnist_mlp.toml

$(VENV)/windowed: $(BIN)/dynsim
	$(BIN)/python -m pip install --quiet --editable '.[gui,movie]'
	touch $@

window: $(VENV)/windowed
	$(BIN)/dynsim-gui --demo

# The tests of the window need Debian packages, which root gets; without them they are left out, and say so.
test: $(VENV)/tested
	$(BIN)/python tests/gui/debian.py; case $$? in \
	  0) $(BIN)/python -m pytest -n 2 ;; \
	  1) $(BIN)/python -m pytest -n 2 -p no:pytest-qt --ignore=tests/gui ;; \
	  *) exit 1 ;; \
	esac

# What can be proved of a GPU without one: its kernels compile for cards, and they and the engine run on a simulator.
$(VENV)-cuda/ready: pyproject.toml
	test -x $(VENV)-cuda/bin/pip || $(PYTHON) -m venv $(VENV)-cuda
	$(VENV)-cuda/bin/python -m pip install --quiet --editable '.[gpu-proof]'
	touch $@

cuda-proof: $(VENV)-cuda/ready
	$(VENV)-cuda/bin/python -m pytest -n 2 tests/kernels/test_ptx.py
	NUMBA_ENABLE_CUDASIM=1 NUMBA_NUM_THREADS=1 $(VENV)-cuda/bin/python -m pytest -n 2 -k cuda tests/kernels

# The whole of tests/reliability, and a run of SOAK minutes with a follower; the table is left in runs/soak.md.
SOAK ?= 60
soak: $(VENV)/tested
	mkdir -p runs && rm -f runs/soak.md
	DYNSIM_SOAK=1 $(BIN)/python -m pytest tests/reliability
	bash -o pipefail -c '$(BIN)/python tests/reliability/soak.py --minutes $(SOAK) | tee -a runs/soak.md'

lint: $(VENV)/tested
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

clean:
	rm -rf $(VENV) $(VENV)-cuda build dist
