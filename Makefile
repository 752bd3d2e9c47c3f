# Short names for what the presets and scripts do. Everything works without make as well; see CONTRIBUTING.md.
PREFIX ?= /usr/local

.PHONY: build demo test test-rdma install lint tidy asan tsan bench bench-check measure clean

build:
	tools/setup.sh
	cmake --preset release
	cmake --build --preset release

demo:
	./demo.sh

test:
	./test.sh

# Two ranks over software RDMA, in emulated machines: no RDMA hardware, no modules, no KVM.
rdma_programs = rdma_rank transport_test cohort
test-rdma:
	tools/setup.sh test
	cmake --preset release
	cmake --build --preset release --target $(rdma_programs)
	tests/rdma/suite.sh build/release

install: build
	cmake --install build/release --prefix $(PREFIX)

lint: tidy
	tools/lint.sh

tidy:
	python3 tools/tidy/tidy.py

asan:
	tools/setup.sh test
	cmake --preset asan
	cmake --build --preset asan
	ctest --preset asan -j 2

# Only what has threads: the rest would find nothing and doubles the time.
threaded = net mesh transport backend engine runner node api

tsan:
	tools/setup.sh test
	cmake --preset tsan
	cmake --build --preset tsan --target $(threaded:%=%_test)
	for module in $(threaded); do \
	  ctest --test-dir build/tsan/src/$$module -L unit --output-on-failure -j 2 || exit 1; \
	done

# Measurements of docs/performance.md; on a machine that does nothing else.
measure: build
	bench/device/measure.py

# The tables of docs/performance.md; PEERS="--peer-llama-bench PATH --peer-dllama PATH" measures other engines beside us.
bench: build
	bench/report/report.py --write $(PEERS)

# The quick rows beside the stored ratios: a report, which no figure makes fail.
bench-check: build
	bench/report/report.py --check --rounds 1

clean:
	rm -rf build
