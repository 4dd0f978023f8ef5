# SPDX-License-Identifier: GPL-2.0
#
# The verbs a person types. All work is done inside the Debian root that
# tools/setup keeps in $FERROX_CACHE (tools/in-root CMD runs anything in it).

KERNEL ?= stock
OUT ?= build/$(KERNEL)
export KERNEL OUT SCRIPT FS SIZE SMP MEM ICOUNT EXTRA NVDIMM MKFS OPTS TIMEOUT POWERCUT ONLY ALLOW VERBOSE

cargo := tools/in-root cargo
workspace := --manifest-path tools/Cargo.toml --locked

.PHONY: help setup run check check-debug check-long crash crash-long fuzz guest shell bench doc module tools clean
.DEFAULT_GOAL := help

help:
	@echo 'make run          the demonstration: real programs on ferrox, through a power cut'
	@echo 'make check        every test: checks of the source, host, module, guest'
	@echo 'make check-debug  the guest tests on a kernel with KASAN, lockdep, kmemleak'
	@echo 'make check-long   make check with the long settings of the random tests'
	@echo 'make fuzz [SECONDS= SEED= BASE=]   hostile images, guided by coverage; REPLAY=file shows a finding'
	@echo 'make crash [FS=xfs|ext4]   what a power failure takes of copies on write: the whole kernel traced'
	@echo 'make crash-long [CALLS=5000 SEED=]   thousands of traced calls, tens of thousands of power failures'
	@echo 'make shell        a guest with ferrox mounted, to play in'
	@echo 'make guest SCRIPT=file-or-directory   run it in a guest; see Documentation/testing.rst for'
	@echo '     [FS= KERNEL= SIZE= SMP= MEM= ICOUNT= EXTRA= NVDIMM= MKFS= OPTS= TIMEOUT= POWERCUT= ONLY=]'
	@echo 'make bench        ferrox, XFS, ext4 and tmpfs side by side, in instructions'
	@echo 'make doc          the documentation in build/doc'
	@echo 'make module       the kernel modules in build/$$KERNEL (stock or debug)'
	@echo 'make tools        mkfs.ferrox, fsck.ferrox and ferrox in build/bin, and the test programs'
	@echo 'make setup        the Debian root and the kernel metadata that all this needs'
	@echo 'make clean        remove what was built here; the cache stays'

setup:
	@tools/setup $(if $(filter debug,$(KERNEL)),--debug-kernel)

# .ferrox-make says how this kernel was built (compiler, tail of the version). The BTF of
# modules needs the kernel's own ELF file, which nobody has here. WHAT may be one object,
# such as rust/vfs/lib.o.
module: setup
	@mkdir -p $(OUT)
	@tools/in-root sh -ec 'k=/cache/linux/$(KERNEL); . $$k/.ferrox-make; \
		exec make -C $$k -s $$make_args M=/ferrox MO=/ferrox/$(OUT) -j$$(nproc) CONFIG_DEBUG_INFO_BTF_MODULES= $(MODFLAGS) \
		$(or $(WHAT),modules)'

# The directory is made by the machine's user, what is in it by root: not the other way round, or
# nobody else could make anything beside it.
tools: setup
	@mkdir -p build
	@$(cargo) build $(workspace) --release --workspace --quiet
	@tools/trace/build
	@tools/in-root sh -ec 'mkdir -p build/bin; cd $$CARGO_TARGET_DIR/release; \
		for verb in mkfs fsck; do cp -u $$verb-ferrox /ferrox/build/bin/$$verb.ferrox; done; \
		cp -u ferrox /ferrox/build/bin/'

guest: module tools
	@tools/guest/run

shell: module tools
	@tools/guest/run --shell

run: module tools
	@if [ -x tools/demo/run ]; then exec tools/demo/run; \
	else echo 'make run: the demonstration (tools/demo/run) is not built yet' >&2; exit 1; fi

bench: module tools
	@if [ -x tools/bench/run ]; then exec tools/bench/run; \
	else echo 'make bench: the benchmark (tools/bench/run) is not built yet' >&2; exit 1; fi

check:
	@tools/tests

check-debug:
	@unset OUT; KERNEL=debug tools/tests guest

check-long:
	@FERROX_LONG=1 tools/tests

crash: module tools
	@FS='$(FS)' tools/trace/rows

crash-long:
	@SEED=$${SEED:-$$(date +%s)} CALLS='$(or $(CALLS),5000)' STATES=8 tools/guest-tests/hosted/trace.sh

fuzz: setup
	@mkdir -p build
	@tools/fuzz/run $(foreach option,SECONDS SEED BASE HANG REPLAY IMAGE,$(if $($(option)),\
		--$(shell echo $(option) | tr A-Z a-z) '$($(option))'))

doc: setup
	@mkdir -p build
	@tools/in-root sphinx-build -q -W --keep-going -b html Documentation build/doc
	@tools/in-root sphinx-build -q -W --keep-going -b man Documentation build/man

# What was built under sudo belongs to root.
clean:
	@rm -rf build 2>/dev/null || tools/in-root rm -rf /ferrox/build
