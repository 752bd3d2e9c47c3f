# Short names for what the presets and scripts do. Everything works without make as well; see CONTRIBUTING.md.
PREFIX ?= /usr/local

.PHONY: build demo test install lint tidy asan tsan bench clean

build:
	tools/setup.sh
	cmake --preset release
	cmake --build --preset release

demo:
	./demo.sh

test:
	./test.sh

install: build
	cmake --install build/release --prefix $(PREFIX)

lint: tidy
	tools/lint.sh

tidy:
	python3 tools/tidy/tidy.py

asan tsan:
	tools/setup.sh test
	cmake --preset $@
	cmake --build --preset $@
	ctest --preset $@ -j 2

bench: build
	build/release/cohort bench demo

clean:
	rm -rf build
