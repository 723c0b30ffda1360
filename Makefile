# `make demo` and `make test` are all the set-up there is: Python 3.10 or newer, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO_SONG := examples/everything_is_free_caesium.flac

.PHONY: demo test lint format build clean

demo: $(VENV)/.runtime
	$(BIN)/sepgan separate $(DEMO_SONG) --out stems --overwrite

test: $(VENV)/.dev ffmpeg chromium fluidsynth flite
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The wheel is tried where nothing else of this project is: a new environment in another folder.
build: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build --outdir dist . >dist.log 2>&1 || (cat dist.log; exit 1)
	rm -f dist.log
	PYTHON="$(PYTHON)" sh tests/try_wheel.sh dist constraints.txt $(DEMO_SONG)

$(VENV)/bin/python:
	@sh tests/make_environment.sh $(PYTHON) $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing sepgan and torch into $(VENV): a minute or two, several GB"
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing sepgan with everything that tests need into $(VENV): a few minutes, several GB"
	$(PIP) -e ".[dev]"
	@touch $@ $(VENV)/.runtime

# museval and musdb call the ffmpeg programs; a test renders the report in Chromium; `data render` calls fluidsynth, an example flite.
.PHONY: ffmpeg chromium fluidsynth flite
ffmpeg:
	@sh tests/install_program.sh ffmpeg ffprobe ffmpeg

fluidsynth:
	@sh tests/install_program.sh fluidsynth

flite:
	@sh tests/install_program.sh flite

chromium:
	@sh tests/install_program.sh chromium chromium-browser google-chrome

clean:
	rm -rf $(VENV) dist build stems .mypy_cache .pytest_cache .ruff_cache
