# One virtual environment in .venv. 'make help' lists what can be done.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SOURCE ?= 0
OUT    ?= out/demo
MINUTES ?= 10
TRIES  ?= 20000
# A build of torch without CUDA where there is no GPU: TORCH_FLAGS='--index-url …/whl/cpu'
TORCH       ?= torch==2.13.0
TORCH_FLAGS ?=

JETSON := $(wildcard /etc/nv_tegra_release)
HAS_GL  = $(shell ldconfig -p 2>/dev/null | grep -c 'libGL\.so\.1')
SCREEN := $(DISPLAY)$(WAYLAND_DISPLAY)
# Never both builds of OpenCV, and on a Jetson neither: the system's has GStreamer.
OPENCV  = $(if $(JETSON),,$(if $(filter 0,$(HAS_GL)),headless,$(if $(SCREEN)$(WITH_WINDOW),desktop,headless)))
# The system's OpenCV on a Jetson was built for NumPy 1, and its NumPy is older than ours may be.
NUMPY   = $(if $(JETSON),'numpy>=1.24$(comma)<2')
OTHER   = $(if $(filter desktop,$(OPENCV)),opencv-python-headless,opencv-python)

# 59 MB, and 180 unpacked: only where its arithmetic is faster than ONNX Runtime's.
OPENVINO = $(shell grep -qsE 'avx512|amx_' /proc/cpuinfo && echo ,openvino)

.DEFAULT_GOAL := help
.PHONY: help setup demo live test test-all test-matrix test-gpu fuzz lint bench soak train-smoke export system-packages clean

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.runtime  ## install the runtime (no torch) into .venv
	@$(BIN)/patchwatch doctor

demo: $(VENV)/.demo  ## photographs and generated pictures side by side, scored: an mp4 and two tables
	$(BIN)/patchwatch demo --output $(OUT)

live: $(VENV)/.runtime  ## watch a camera in a window (SOURCE=rtsp://… for another source)
	$(BIN)/patchwatch run $(SOURCE)

test test-all: WITH_WINDOW := yes
test: $(VENV)/.dev  ## ruff, mypy and pytest, without the tests that take long (some minutes)
	$(MAKE) --no-print-directory -j3 WITH_WINDOW=yes system-packages $(VENV)/.cuda lint
	$(BIN)/pytest -n 3 --dist loadfile --max-worker-restart 0 -m 'not slow'

test-all: $(VENV)/.dev  ## everything that CI checks: all tests (COVERAGE=1: which lines they reach)
	$(MAKE) --no-print-directory -j3 WITH_WINDOW=yes system-packages $(VENV)/.cuda lint
	$(BIN)/pytest -n 3 --dist loadfile --max-worker-restart 0 --reruns 2 --durations 30 $(if $(COVERAGE),--cov --cov-report=term)

test-matrix: $(VENV)/.dev  ## the runtime's tests on each Python at hand, with its lowest and highest packages
	$(BIN)/pip install -q uv && $(BIN)/python -m tests.matrix

fuzz: $(VENV)/.dev  ## damaged and hostile input for TRIES (20000) examples of each kind, all kinds of films
	PATCHWATCH_FUZZ=$(TRIES) $(BIN)/pytest -q --timeout 0 tests/test_fuzz.py tests/edge/sources/test_kinds.py

test-gpu: $(VENV)/.dev $(VENV)/.cuda  ## on a machine with an NVIDIA GPU: what the tests otherwise run on stand-ins
	PATCHWATCH_REAL_GPU=1 timeout 600 $(BIN)/pytest -q -m "" tests/edge/cuda

lint: $(VENV)/.dev  ## ruff and mypy only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.bench  ## measure everything, under ten minutes (QUICK=1: about a minute); report in out/bench
	@f=$$($(BIN)/patchwatch bench $(if $(QUICK),--quick) --output out/bench) || code=$$?; \
	[ -z "$$f" ] || $(BIN)/patchwatch bench report "$$f" -o out/bench/report; exit $${code:-0}

soak: $(VENV)/.bench  ## real streams against a slow model for MINUTES (10): ages, memory, descriptors, threads
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) --report out/soak/soak.json

train-smoke: $(VENV)/.dev  ## the whole way small: made-up pictures, train, distil, export, evaluate
	rm -rf out/train-smoke && OMP_NUM_THREADS=1 $(BIN)/python -m training.smoke out/train-smoke

export: $(VENV)/.dev  ## CHECKPOINT=… MODEL=out.onnx: turn a checkpoint into a model file
	@test -n "$(CHECKPOINT)" || { echo "make export needs CHECKPOINT=file (and MODEL=out.onnx)"; exit 2; }
	$(BIN)/patchwatch export $(CHECKPOINT) -o $(or $(MODEL),out.onnx)

$(BIN)/python:
	$(PYTHON) -m venv $(if $(JETSON),--system-site-packages) $(VENV)

$(VENV)/.runtime: pyproject.toml | $(BIN)/python
	$(if $(OPENCV),-@$(BIN)/pip uninstall -q -y $(OTHER) 2>/dev/null)
	$(BIN)/pip install -q $(NUMPY) -e '.$(if $(OPENCV),[$(OPENCV)$(OPENVINO)])'
	@touch $@

$(VENV)/.demo: $(VENV)/.runtime
	$(BIN)/pip install -q -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(if $(OPENCV),-@$(BIN)/pip uninstall -q -y $(OTHER) 2>/dev/null)
	$(BIN)/pip install -q $(TORCH) $(TORCH_FLAGS)
	$(BIN)/pip install -q $(NUMPY) -e '.[$(if $(OPENCV),$(OPENCV),)$(if $(OPENCV),$(comma))dev]'
	@touch $(VENV)/.runtime $(VENV)/.demo $@

# pycuda, for tests with a CUDA driver in software; only where nvcc is.
$(VENV)/.cuda: $(VENV)/.dev
	-$(BIN)/python -m tests.software_cuda.install
	@touch $@

$(VENV)/.bench: $(VENV)/.runtime
	$(BIN)/pip install -q $(TORCH) $(TORCH_FLAGS)
	$(BIN)/pip install -q -e '.[bench]'
	@touch $@

comma := ,

# What the tests of the window, streams, a search and the page need; without it they skip and say why.
PACKAGES := xvfb xdotool libgl1 libglib2.0-0 python3-gi gir1.2-gst-rtsp-server-1.0 \
	gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-tools postgresql \
	chromium chromium-driver mosquitto prometheus

system-packages:
	@if ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ]; then \
		echo "not root, or not Debian: tests that need these packages skip: $(PACKAGES)"; \
	elif ! dpkg -s $(PACKAGES) >/dev/null 2>&1; then \
		for n in 1 2 3 4 5 6 7 8 9; do \
			said=$$(apt-get update -qq 2>&1 && \
				DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(PACKAGES) 2>&1) && exit 0; \
			case "$$said" in *lock*) echo "apt is in use; waiting ($$n of 9)"; sleep 20;; *) break;; esac; \
		done; \
		echo "$$said" | tail -n 3; \
		echo "not installed: tests that need these packages skip: $(PACKAGES)"; \
	fi

clean:  ## remove .venv and what the tools leave
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .coverage *.egg-info out
