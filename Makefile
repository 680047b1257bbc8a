# What people type; CMake (CMakeLists.txt, CMakePresets.json) does the building.
BUILD = build

all: build ## build build/latentr3

help: ## this page
	@sed -nE 's/^([a-z]+):.*## /  make \1\t/p' Makefile | expand -t 20
	@echo "  make demo OFFLINE=1 needs no network: a made-up catalogue and a small random model"

deps: ## install the Debian packages that building and testing need (asks for root only there)
	@tools/deps.sh

build:
	@test -e $(BUILD)/build.ninja || cmake --preset release -B $(BUILD)
	@cmake --build $(BUILD)

cuda: deps ## build build/cuda/latentr3, which runs on NVIDIA GPUs too (nvcc is needed)
	@command -v nvcc >/dev/null || { echo "nvcc is not in PATH: CUDA 12.5 or newer is needed" >&2; exit 1; }
	@cmake --preset cuda && cmake --build build/cuda

test: deps build ## every test: programs, command line, layers, format
	@tools/test.sh $(BUILD)

asan: deps ## the quick tests under the address and undefined-behaviour sanitizers
	@cmake --preset asan && cmake --build build/asan
	@tools/test.sh build/asan quick

tsan: deps ## training and the server on several threads under ThreadSanitizer
	@tools/deps.sh clang libclang-rt-dev libomp-dev python3
	@cmake --preset tsan && cmake --build build/tsan --target latentr3 latentr3-races test_ranks library_check
	@LATENTR3=$(CURDIR)/build/tsan/latentr3 BATS_TEST_TIMEOUT=900 bats --timing tests/races/races.bats

soak: deps build ## the long form of the kill and fault tests, and what a server must live through: hours
	@SOAK=1 LATENTR3=$(abspath $(BUILD))/latentr3 bats tests/cli/faults.bats tests/cli/ranks.bats
	@rm -rf $(BUILD)/soak && $(BUILD)/latentr3 synth --out $(BUILD)/soak
	@python3 tests/soak.py $(BUILD)/latentr3 $(BUILD)/soak/model $(BUILD)/soak/data $(or $(SOAK_SHARE),1)

fuzz: deps ## each fuzz target for FUZZ_SECONDS (60) with libFuzzer, and whether it finds a planted bug
	@tools/deps.sh clang libclang-rt-dev libomp-dev
	@cmake --preset fuzz && cmake --build build/fuzz
	@tools/fuzz.sh build/fuzz $(or $(FUZZ_SECONDS),60)

demo: deps build ## train and measure SmolLM2 on MovieLens-100K, at most 15 minutes on 2 cores
	@OFFLINE=$(OFFLINE) tools/demo.sh $(BUILD)/latentr3

install: build ## into PREFIX (/usr/local), below DESTDIR where that is set
	@DESTDIR="$(DESTDIR)" cmake --install "$(BUILD)" --prefix "$(or $(PREFIX),/usr/local)"
	@[ -n "$(DESTDIR)" ] || [ "$$(id -u)" -ne 0 ] || PATH="$$PATH:/sbin" ldconfig # so that the loader finds the library

deb: deps build ## build/latentr3_VERSION_ARCHITECTURE.deb
	@cd $(BUILD) && cpack -G DEB

debtest: deb ## the package on a clean Debian 12, made for it (root and a network are needed)
	@tools/deps.sh debootstrap
	@packaging/clean_install.sh $(BUILD)/latentr3_*.deb

wheel: ## build/latentr3-VERSION-py3-none-any.whl: the Python package, which loads the library that is installed
	@tools/deps.sh python3-pip python3-setuptools python3-wheel
	@packaging/make_wheel.sh $(BUILD)

format: ## write all sources as .clang-format says
	@tools/deps.sh clang-format
	@tools/check_format.sh --fix

clean: ## remove what was built, not what was downloaded
	@find $(BUILD) -mindepth 1 -maxdepth 1 ! -name downloads -exec rm -rf {} + 2>/dev/null || true

.PHONY: all help deps build cuda test asan tsan soak fuzz demo install deb debtest wheel format clean
