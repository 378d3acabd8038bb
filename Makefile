# A thin front of CMake: `make help` lists what there is.
# The rules of the build are in CMakeLists.txt.
BUILD  ?= build
# The second build of the tests, with AddressSanitizer and UndefinedBehaviorSanitizer; empty: not built, not run.
BUILD_SANITIZED ?= $(BUILD)-sanitized
PREFIX ?= /usr/local
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)
# More for CMake's configuration, like -G Ninja or -DCMAKE_C_COMPILER=clang.
CMAKE_FLAGS ?=
# Options of bench/suite.py, like --python PYTHON.
BENCH_FLAGS ?=

configure = cmake -S . -B "$(BUILD)" -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$(PREFIX)" \
            -DDCAM_WERROR=OFF $(CMAKE_FLAGS) --log-level=WARNING
hint = { echo "make: the build cannot be configured; scripts/install-deps installs what is missing" >&2; exit 1; }

.PHONY: all demo test test-sanitized run-sanitized check-analysis check-coverage check-long bench sbom install clean deps help

all:
	@$(configure) -DDCAM_TESTS=OFF || $(hint)
	@cmake --build "$(BUILD)" -j $(JOBS)

deps:
	@scripts/install-deps

demo: deps
	@$(MAKE) --no-print-directory all
	@scripts/demo "$(BUILD)"

# Left out of the sanitised tests that belong to `make test`: slow there (docs/reliability.md).
# `make test-sanitized` has them.
SLOW_SANITIZED = ^(distill\.test_trainer|pretrain\.test_pretrainer|api\.test_train_unseen|serve\.test_reload|fault\.(crash|bounds))
sanitized = $(MAKE) --no-print-directory run-sanitized SANITIZED_TESTS

# The sanitised tests come first, so that the last line is that of the plain ones; both run, and either can fail.
test: deps
	@$(configure) -DDCAM_TESTS=ON || $(hint)
	@cmake --build "$(BUILD)" -j $(JOBS)
	@code=0; \
	[ -z "$(BUILD_SANITIZED)" ] || $(sanitized)="-E '$(SLOW_SANITIZED)'" || code=1; \
	(cd "$(BUILD)" && ctest --output-on-failure -j $(JOBS)) || code=1; \
	[ $$code -eq 0 ] || { echo "make: tests failed: the plain ones, those with sanitizers, or both" >&2; exit 1; }

test-sanitized: deps
	@$(sanitized)=

run-sanitized:
	@cmake -S . -B "$(BUILD_SANITIZED)" -DCMAKE_BUILD_TYPE=Debug -DDCAM_SANITIZE=address,undefined -DDCAM_WERROR=OFF \
	    $(CMAKE_FLAGS) --log-level=WARNING || $(hint)
	@cmake --build "$(BUILD_SANITIZED)" -j $(JOBS)
	@cd "$(BUILD_SANITIZED)" && ctest --output-on-failure -j $(JOBS) $(SANITIZED_TESTS)

# Installs nothing; says which tool is missing.
check-analysis:
	@scripts/check-analysis

check-coverage:
	@scripts/check-coverage

check-long:
	@$(configure) -DDCAM_TESTS=ON || $(hint)
	@cmake --build "$(BUILD)" -j $(JOBS)
	@scripts/check-long "$(BUILD)"

bench:
	@$(configure) -DDCAM_TESTS=OFF -DDCAM_BENCH=ON || $(hint)
	@cmake --build "$(BUILD)" -j $(JOBS)
	@scripts/bench "$(BUILD)" $(BENCH_FLAGS)

sbom: all
	@cmake --build "$(BUILD)" --target sbom

install: all
	@cmake --install "$(BUILD)"

clean:
	rm -rf "$(BUILD)" "$(BUILD_SANITIZED)"

help:
	@echo 'make            builds $(BUILD)/dcam, libdcam and the example'
	@echo 'make demo       installs what is missing, builds, trains and looks for defects on synthetic images'
	@echo 'make test       installs what is missing, builds, runs all tests, most of them with sanitizers too'
	@echo 'make test-sanitized  all tests with AddressSanitizer and UndefinedBehaviorSanitizer'
	@echo 'make check-analysis  cppcheck, clang, gcc -fanalyzer, clang-tidy: docs/reliability.md'
	@echo 'make check-coverage  lines and branches that the tests reach, a folder: docs/reliability.md'
	@echo 'make check-long the tests that take hours: docs/reliability.md'
	@echo 'make bench      measures the speed of this machine beside other run times, writes docs/benchmarks.md'
	@echo 'make sbom       $(BUILD)/dcam.spdx.json: what dcam is linked with (SPDX); make install installs it too'
	@echo 'make install    installs below PREFIX ($(PREFIX)); DESTDIR is respected'
	@echo 'make deps       installs what is missing, nothing else'
	@echo 'make clean      removes $(BUILD) and $(BUILD_SANITIZED)'
	@echo 'Variables: BUILD, BUILD_SANITIZED (empty: no tests with sanitizers), PREFIX, JOBS, CMAKE_FLAGS, BENCH_FLAGS (options of bench/suite.py)'
