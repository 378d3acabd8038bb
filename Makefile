# A thin front of CMake: `make help` lists what there is.
# The rules of the build are in CMakeLists.txt.
BUILD  ?= build
# The build of the tests with AddressSanitizer and UndefinedBehaviorSanitizer.
BUILD_SANITIZED ?= $(BUILD)-sanitized
PREFIX ?= /usr/local
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)
# More for CMake's configuration, like -G Ninja or -DCMAKE_C_COMPILER=clang.
CMAKE_FLAGS ?=
# Options of bench/suite.py, like --python PYTHON.
BENCH_FLAGS ?=

configure = cmake -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=$(PREFIX) \
            -DDCAM_WERROR=OFF $(CMAKE_FLAGS) --log-level=WARNING
hint = { echo "make: the build cannot be configured; scripts/install-deps installs what is missing" >&2; exit 1; }

.PHONY: all demo test test-sanitized check-analysis check-coverage check-long bench sbom install clean deps help

all:
	@$(configure) -DDCAM_TESTS=OFF || $(hint)
	@cmake --build $(BUILD) -j $(JOBS)

deps:
	@scripts/install-deps

demo: deps
	@$(MAKE) --no-print-directory all
	@scripts/demo $(BUILD)

test: deps
	@$(configure) -DDCAM_TESTS=ON || $(hint)
	@cmake --build $(BUILD) -j $(JOBS)
	@cd $(BUILD) && ctest --output-on-failure -j $(JOBS)

test-sanitized:
	@cmake -S . -B $(BUILD_SANITIZED) -DCMAKE_BUILD_TYPE=Debug -DDCAM_SANITIZE=address,undefined -DDCAM_WERROR=OFF \
	    $(CMAKE_FLAGS) --log-level=WARNING || $(hint)
	@cmake --build $(BUILD_SANITIZED) -j $(JOBS)
	@cd $(BUILD_SANITIZED) && ctest --output-on-failure -j $(JOBS)

# Installs nothing; says which tool is missing.
check-analysis:
	@scripts/check-analysis

check-coverage:
	@scripts/check-coverage

check-long:
	@$(configure) -DDCAM_TESTS=ON || $(hint)
	@cmake --build $(BUILD) -j $(JOBS)
	@scripts/check-long $(BUILD)

bench:
	@$(configure) -DDCAM_TESTS=OFF -DDCAM_BENCH=ON || $(hint)
	@cmake --build $(BUILD) -j $(JOBS)
	@scripts/bench $(BUILD) $(BENCH_FLAGS)

sbom: all
	@cmake --build $(BUILD) --target sbom

install: all
	@cmake --install $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD_SANITIZED)

help:
	@echo 'make            builds $(BUILD)/dcam, libdcam and the example'
	@echo 'make demo       installs what is missing, builds, trains and looks for defects on synthetic images'
	@echo 'make test       installs what is missing, builds, runs all tests'
	@echo 'make test-sanitized  the same tests with AddressSanitizer and UndefinedBehaviorSanitizer'
	@echo 'make check-analysis  cppcheck, gcc -fanalyzer, clang-tidy: docs/reliability.md'
	@echo 'make check-long the tests that take hours: docs/reliability.md'
	@echo 'make bench      measures the speed of this machine beside other run times, writes docs/benchmarks.md'
	@echo 'make sbom       $(BUILD)/dcam.spdx.json: what dcam is linked with (SPDX); make install installs it too'
	@echo 'make install    installs below PREFIX ($(PREFIX)); DESTDIR is respected'
	@echo 'make deps       installs what is missing, nothing else'
	@echo 'make clean      removes $(BUILD) and $(BUILD_SANITIZED)'
	@echo 'Variables: BUILD, BUILD_SANITIZED, PREFIX, JOBS, CMAKE_FLAGS, BENCH_FLAGS (options of bench/suite.py)'
