# heapd: build, check, install. "make help" lists the targets and the variables.
#
# Sources are found by wildcard: a file that is put in its place is built. Everything that is made lies under $(O).

.DEFAULT_GOAL := all
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules

VERSION := 0.1.0
SONAME  := libheapd.so.0

# What a user may set -------------------------------------------------------------------------------------------------

O          ?= build
PREFIX     ?= /usr/local
bindir     ?= $(PREFIX)/bin
sbindir    ?= $(PREFIX)/sbin
libdir     ?= $(PREFIX)/lib
includedir ?= $(PREFIX)/include
mandir     ?= $(PREFIX)/share/man
docdir     ?= $(PREFIX)/share/doc/heapd
pcdir      ?= $(libdir)/pkgconfig
# systemd looks there whatever the prefix is.
unitdir     ?= /usr/lib/systemd/system
sysusersdir ?= /usr/lib/sysusers.d
tmpfilesdir ?= /usr/lib/tmpfiles.d
catalogdir  ?= /usr/lib/systemd/catalog
completionsdir ?= $(PREFIX)/share/bash-completion/completions
zshdir      ?= $(PREFIX)/share/zsh/vendor-completions

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := $(or $(if $(findstring clang,$(CC)),$(subst clang,clang++,$(CC))), \
	    $(if $(findstring gcc,$(CC)),$(subst gcc,g++,$(CC))),g++)
endif
ifeq ($(origin AR),default)
AR := ar
endif
PKG_CONFIG ?= pkg-config
CFLAGS     ?= $(if $(SAN),-O1,-O2) -g
CXXFLAGS   ?= $(CFLAGS)

# How it is built -----------------------------------------------------------------------------------------------------

MACHINE := $(or $(shell $(CC) -dumpmachine 2>/dev/null),$(shell uname -m))

# The 16-byte compare-and-swap must be one instruction, never a call into libatomic.
MACHINE_FLAGS := $(if $(filter x86_64%,$(MACHINE)),-mcx16)

WARNINGS   := -Wall -Wextra -Wshadow -Wconversion
C_WARNINGS := $(WARNINGS) -Wstrict-prototypes -Wmissing-prototypes
BASE       := -D_GNU_SOURCE -Iinclude -iquote . $(MACHINE_FLAGS) -pthread
# gcc says of each fence that ThreadSanitizer does not see it.
NO_WTSAN_GCC := $(if $(findstring gcc,$(CC)),-Wno-tsan)
NO_WTSAN   := $(if $(filter thread,$(SAN)),$(NO_WTSAN_GCC))
SANITIZE   := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer) $(NO_WTSAN)

# Initial-exec TLS keeps the barrier to one load. No lazy binding: a signal handler must not meet the resolver.
# Functions begin with a cache line: what the fast ones cost does not depend on what else there is.
LIB_FLAGS    := -falign-functions=64 -fPIC -fvisibility=hidden -ftls-model=initial-exec -fno-plt
PROG_FLAGS   := -fPIE
DAEMON_FLAGS := $(PROG_FLAGS) -fstack-protector-strong $(if $(SAN),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)

# PROBES=no leaves out the USDT probes (and the need for <sys/sdt.h>).
PROBE_FLAGS := $(if $(filter no,$(PROBES)),-DHEAPD_NO_PROBES)

ALL_CFLAGS   = -std=gnu17 $(C_WARNINGS) $(BASE) $(PROBE_FLAGS) $(SANITIZE) $(CPPFLAGS) $(CFLAGS)
ALL_CXXFLAGS = -std=gnu++17 $(WARNINGS) $(BASE) $(SANITIZE) $(CPPFLAGS) $(CXXFLAGS)
ALL_LDFLAGS  = -Wl,-z,relro,-z,now -Wl,--as-needed $(SANITIZE) $(LDFLAGS)
# A shared library of clang's leaves the sanitizer's symbols to the program.
LIB_LDFLAGS  = -shared -Wl,-soname,$(SONAME) -Wl,--version-script=client/libheapd.map -Wl,-z,nodelete \
	       $(if $(and $(SAN),$(findstring clang,$(CC))),,-Wl,-z,defs)

DAEMON_LIBS = -levent_core -levent_pthreads -lcap-ng -lsystemd -pthread
CHECK_LIBS  = $(shell $(PKG_CONFIG) --libs check)

# What is built -------------------------------------------------------------------------------------------------------

LIB_SRC     := $(wildcard client/*.c)
DEMO_SRC    := $(wildcard client/demo/*.c)
CTL_SRC     := $(wildcard client/heapctl/*.c)
EXPORTER_SRC := $(filter-out bpf/%.bpf.c,$(wildcard bpf/*.c))
DAEMON_SRC  := $(filter-out daemon/main.c,$(wildcard daemon/*.c))
MAIN_SRC    := $(wildcard daemon/main.c)
FIXTURE_SRC := $(wildcard tests/fixture*.c)
TEST_SRC    := $(wildcard tests/check_*.c tests/check_*.cc)
TEST_SH     := $(wildcard tests/check_*.sh)
STRESS_ALL  := $(wildcard tests/stress/*.c)
IMAGES_SRC  := $(wildcard tests/crash/images*.c)
CRASH_ALL   := $(filter-out $(IMAGES_SRC),$(wildcard tests/crash/*.c))
BENCH_ALL   := $(wildcard tests/bench/*.c tests/bench/*.cc)
# Targets for libFuzzer, and what is common to them; replay.c has a main for where libFuzzer's is not.
FUZZ_ALL    := $(wildcard tests/fuzz/*.c)
FUZZ_SRC    := $(if $(FUZZ_ALL),$(shell grep -l '^int LLVMFuzzerTestOneInput' $(FUZZ_ALL)))

# In stress/, crash/ and bench/ a file with a main is a program; the others are common code of the programs beside them.
open := (
hash := \#
mains        = $(if $(strip $1),$(shell grep -lE '^[a-z].*\<main[$(open)]' $1))
STRESS_SRC   := $(call mains,$(STRESS_ALL))
CRASH_SRC    := $(call mains,$(CRASH_ALL))
BENCH_SRC    := $(call mains,$(BENCH_ALL))

# The library hides its insides: a program that includes them is linked with the library's objects instead.
PROG_ALL  := $(FIXTURE_SRC) $(TEST_SRC) $(STRESS_ALL) $(CRASH_ALL) $(FUZZ_ALL) $(BENCH_ALL)
INNER_SRC := $(if $(PROG_ALL),$(shell grep -lE '^$(hash) *include "(\.\./)*client/' $(PROG_ALL)))

objects = $(patsubst %,$(O)/%.o,$(basename $1))
# The exporter is built without its BPF programs where there is nothing to build them with.
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
HAVE_BPF := $(shell command -v clang >/dev/null && command -v $(BPFTOOL) >/dev/null && $(PKG_CONFIG) --exists libbpf && echo yes)
EXPORTER_SRC := $(filter-out $(if $(HAVE_BPF),bpf/noloader.c,bpf/loader.c bpf/notes.c),$(EXPORTER_SRC))

# So is heapctl, which then has no samples.
CTL_SRC := $(filter-out $(if $(HAVE_BPF),%/nosampler.c,%/sampler.c),$(CTL_SRC))

names   = $(notdir $(basename $1))

LIB_OBJ     := $(call objects,$(LIB_SRC))
DEMO_OBJ    := $(call objects,$(DEMO_SRC))
CTL_OBJ     := $(call objects,$(CTL_SRC))
EXPORTER_OBJ := $(call objects,$(EXPORTER_SRC))
DAEMON_OBJ  := $(call objects,$(DAEMON_SRC))
MAIN_OBJ    := $(call objects,$(MAIN_SRC))
FIXTURE_OBJ := $(call objects,$(FIXTURE_SRC))
STRESS_OBJ  := $(call objects,$(filter-out $(STRESS_SRC),$(STRESS_ALL)))
CRASH_OBJ   := $(call objects,$(filter-out $(CRASH_SRC),$(CRASH_ALL)))
BENCH_OBJ   := $(call objects,$(filter-out $(BENCH_SRC),$(BENCH_ALL)))

LIBHEAPD  := $(if $(LIB_SRC),$(O)/libheapd.so)
INNER     := $(if $(LIB_SRC),$(O)/libheapd-inner.a)
LIBHEAPDD := $(if $(DAEMON_SRC),$(O)/libheapdd.a)
HEAPD     := $(if $(MAIN_SRC),$(O)/heapd)
DEMO      := $(if $(DEMO_SRC),$(O)/heapd-demo)
HEAPCTL   := $(if $(CTL_SRC),$(O)/heapctl)
EXPORTER  := $(if $(EXPORTER_SRC),$(O)/heapd-exporter)
FIXTURE   := $(if $(FIXTURE_SRC),$(O)/tests/libfixture.a)
# An archive: some of it needs the library's insides, which not all of the programs are linked with.
STRESS    := $(if $(STRESS_OBJ),$(O)/stress/libstress.a)
TEST_BIN  := $(addprefix $(O)/tests/,$(call names,$(TEST_SRC)))
STRESS_BIN := $(addprefix $(O)/stress/,$(call names,$(STRESS_SRC)))
CRASH_BIN  := $(addprefix $(O)/crash/,$(call names,$(CRASH_SRC)))
FUZZ_OBJ   := $(call objects,$(filter-out $(FUZZ_SRC) %/replay.c %/reads.c,$(FUZZ_ALL)))
FUZZ_BIN   := $(addprefix $(O)/fuzz/,$(call names,$(FUZZ_SRC)))

SOURCES := $(wildcard $(foreach d,include include/heapd client client/demo client/heapctl daemon bpf tests tests/service tests/stress tests/crash \
	     tests/fuzz tests/bench, \
	     $d/*.c $d/*.cc $d/*.h $d/*.hh))
UNITS   := $(filter %.c %.cc,$(SOURCES))

# Bench peers: a bench program is linked with each peer that its file name, or PEERS_<program>, names.
PEERS := mimalloc jemalloc tcmalloc boost bdwgc
LIBS_mimalloc := -lmimalloc
LIBS_jemalloc := -ljemalloc
LIBS_tcmalloc := -ltcmalloc_minimal
LIBS_boost    := -lrt
LIBS_bdwgc    := -lgc
HEADER_mimalloc := mimalloc.h
HEADER_jemalloc := jemalloc/jemalloc.h
HEADER_tcmalloc := gperftools/tcmalloc.h
HEADER_boost    := boost/interprocess/managed_shared_memory.hpp
HEADER_bdwgc    := gc.h

peers_of   = $(sort $(PEERS_$1) $(foreach p,$(PEERS),$(if $(findstring $p,$1),$p)))
# Looked for only when benches are built.
have_peer  = $(shell printf '$(hash)include <%s>\nint main(){return 0;}\n' '$(HEADER_$1)' \
	       | $(CXX) -x c++ -std=gnu++17 - -o /dev/null $(LIBS_$1) >/dev/null 2>&1 && echo yes)
ifneq ($(filter bench bench-build bench-mark bench-pause bench-probes,$(MAKECMDGOALS)),)
PEERS_USED    := $(sort $(foreach b,$(call names,$(BENCH_SRC)),$(call peers_of,$b)))
PEERS_MISSING := $(strip $(foreach p,$(PEERS_USED),$(if $(call have_peer,$p),,$p)))
endif
BENCH_SKIP := $(foreach b,$(call names,$(BENCH_SRC)),$(if $(filter $(PEERS_MISSING),$(call peers_of,$b)),$b))
BENCH_BIN  := $(addprefix $(O)/bench/,$(filter-out $(BENCH_SKIP),$(call names,$(BENCH_SRC))))

define newline


endef

# Talking -------------------------------------------------------------------------------------------------------------

ifeq ($(V),1)
Q :=
say :=
else
Q := @
say = @printf '  %-5s %s\n' $1 '$(patsubst $(O)/%,%,$@)';
endif
# $(call run,WORD,command)
run = $(call say,$1)$2
SUBMAKE = +$(Q)$(MAKE) --no-print-directory
# Both cores for those who did not say otherwise; seen in a recipe only, where MAKEFLAGS is complete.
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

# Rules ---------------------------------------------------------------------------------------------------------------

.PHONY: all tests stress stress-build stress-mutants crash crash-clients crash-more crash-bits crash-stops crash-stores crash-images fuzz fuzz-build soak FORCE

all: $(LIBHEAPD) $(LIBHEAPDD) $(HEAPD) $(DEMO) $(HEAPCTL) $(EXPORTER) ## build library, daemon, heapctl, demo and exporter (the default)

tests: all $(TEST_BIN) $(CRASH_BIN) $(FUZZ_BIN) $(if $(SAN),,$(O)/fuzz/reads $(O)/crash/images) ## build the test programs

stress-build: all $(STRESS_BIN)

# Rewritten only when what they hold changes: other flags make every object again, other sources every archive.
define FLAGS
$(CC) $(ALL_CFLAGS)
$(CXX) $(ALL_CXXFLAGS)
$(LIB_FLAGS) $(DAEMON_FLAGS)
$(ALL_LDFLAGS) $(LIB_LDFLAGS)
endef
quote = '$(subst ','\'',$(subst $(newline), ,$1))'
# $(call keep,text): the file is rewritten only if it holds something else
keep = @printf '%s\n' $(call quote,$1) | cmp -s - $@ || printf '%s\n' $(call quote,$1) >$@

$(O)/.flags: FORCE | $(O)/
	$(call keep,$(FLAGS))

$(O)/.sources: FORCE | $(O)/
	$(call keep,$(LIB_SRC) | $(DAEMON_SRC) | $(DEMO_SRC) | $(CTL_SRC) | $(EXPORTER_SRC) | $(FIXTURE_SRC) | $(STRESS_ALL))

$(O)/:
	@mkdir -p $@

# An object made without WERROR=1 may have warned: it leaves a mark, and WERROR=1 makes it again.
ifeq ($(WERROR),1)
LAX := $(patsubst %.lax,%,$(shell find $(O) -name '*.o.lax' 2>/dev/null))
$(LAX): FORCE
endif
lax = $(if $(filter 1,$(WERROR)),&& rm -f $@.lax,&& touch $@.lax)
werror = $(if $(filter 1,$(WERROR)),-Werror)

$(LIB_OBJ): UNIT_FLAGS := $(LIB_FLAGS)
$(DAEMON_OBJ) $(MAIN_OBJ): UNIT_FLAGS := $(DAEMON_FLAGS)
UNIT_FLAGS := $(PROG_FLAGS)

# So that the stack of a sampled allocation leads back to its caller: slow paths alone.
FRAMED := refill sample large probes
# And in the test of that, to its caller's.
FRAMED += check_profile check_leaks
$(foreach f,$(FRAMED),$(eval CFLAGS_$f := -fno-omit-frame-pointer))

$(O)/%.o: %.c $(O)/.flags
	@mkdir -p $(@D)
	$(call run,CC,$(CC) $(ALL_CFLAGS) $(UNIT_FLAGS) $(CFLAGS_$(*F)) $(werror) -MMD -MP -c -o $@ $< $(lax))

$(O)/%.o: %.cc $(O)/.flags
	@mkdir -p $(@D)
	$(call run,CXX,$(CXX) $(ALL_CXXFLAGS) $(UNIT_FLAGS) $(CFLAGS_$(*F)) $(werror) -MMD -MP -c -o $@ $< $(lax))

# What is linked gets its name when it is whole, so that it can be made anew under programs that run or start.
to = -o $@.new
whole = && mv -f $@.new $@

$(O)/libheapd.so: $(LIB_OBJ) client/libheapd.map $(O)/.sources
	$(call run,LD,$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(LIB_LDFLAGS) $(to) $(LIB_OBJ) $(whole) && ln -sf $(@F) $(O)/$(SONAME))

# The library once more, with delays inside its sequences: check_inject runs with it.
INJECT_OBJ := $(patsubst $(O)/%,$(O)/inject/%,$(LIB_OBJ))

$(O)/inject/%.o: %.c $(O)/.flags
	@mkdir -p $(@D)
	$(call run,CC,$(CC) $(ALL_CFLAGS) $(LIB_FLAGS) -DHEAPD_RSEQ_INJECT $(werror) -MMD -MP -c -o $@ $< $(lax))

$(O)/inject/libheapd.map: client/libheapd.map
	@mkdir -p $(@D)
	@sed 's/^\tglobal:/&\n\t\theapd_inject_aborts;\n\t\theapd_inject_points;/' $< >$@

$(O)/inject/libheapd.so: $(INJECT_OBJ) $(O)/inject/libheapd.map $(O)/.sources
	$(call run,LD,$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(subst client/libheapd.map,$(O)/inject/libheapd.map,$(LIB_LDFLAGS)) $(to) $(INJECT_OBJ) \
		$(whole) && ln -sf $(@F) $(@D)/$(SONAME))

$(INNER): $(LIB_OBJ)
$(LIBHEAPDD): $(DAEMON_OBJ)
$(FIXTURE): $(FIXTURE_OBJ)
$(STRESS): $(STRESS_OBJ) | $(O)/stress/
$(INNER) $(LIBHEAPDD) $(FIXTURE) $(STRESS): $(O)/.sources
	$(call run,AR,rm -f $@ && $(AR) rcs $@ $(filter %.o,$^))

# $(call link,compiler and flags,where the library lies from here,last words): the objects and archives of the rule
link = $1 -pie $(ALL_LDFLAGS) -Wl,-rpath,'$$ORIGIN$2' $(to) $(filter %.o,$^) $(filter %.a,$^) $(filter %.so,$^) $3 $(whole)

$(O)/heapd: $(MAIN_OBJ) $(LIBHEAPDD)
	$(call run,LD,$(call link,$(CC) $(ALL_CFLAGS),,$(DAEMON_LIBS)))

$(O)/heapd-demo: $(DEMO_OBJ) $(LIBHEAPD) $(O)/.sources
	$(call run,LD,$(call link,$(CC) $(ALL_CFLAGS),,$(LDLIBS_heapd-demo)))

# What protoc-c makes of profile.proto; its own code is not ours to warn of.
$(O)/client/heapctl/profile.pb-c.c: client/heapctl/profile.proto
	@mkdir -p $(@D)
	$(call run,PROTO,protoc-c --proto_path=client/heapctl --c_out=$(@D) $<)
$(O)/client/heapctl/profile.pb-c.h: $(O)/client/heapctl/profile.pb-c.c ;
$(O)/client/heapctl/profile.pb-c.o: $(O)/client/heapctl/profile.pb-c.c $(O)/.flags
	$(call run,CC,$(CC) -std=gnu17 $(SANITIZE) $(CPPFLAGS) $(CFLAGS) $(PROG_FLAGS) -c -o $@ $<)

$(O)/bpf/profile.bpf.o: bpf/profile.h
$(O)/client/heapctl/sampler.o: $(O)/bpf/profile.skel.h
$(CTL_OBJ): $(O)/client/heapctl/profile.pb-c.h
$(CTL_OBJ): UNIT_FLAGS = $(PROG_FLAGS) -isystem $(O)/client/heapctl -isystem $(O)/bpf

# So that profiles of the demo have whole stacks.
$(DEMO_OBJ): UNIT_FLAGS := $(PROG_FLAGS) -fno-omit-frame-pointer

# It looks at the directory's tables itself, so it is linked with the library's insides. Traces it writes as the exporter does.
$(O)/heapctl: $(CTL_OBJ) $(O)/bpf/cycletrace.o $(O)/client/heapctl/profile.pb-c.o $(if $(HAVE_BPF),$(O)/bpf/notes.o) $(INNER) $(O)/.sources
	$(call run,LD,$(call link,$(CC) $(ALL_CFLAGS),,-lsmartcols -lprotobuf-c -lz -ldw -lelf $(if $(HAVE_BPF),-lbpf)))

# The BPF programs: compiled for the kernel's machine, and wrapped into a header.
BPF_ARCH := $(patsubst aarch64,arm64,$(patsubst x86_64,x86,$(firstword $(subst -, ,$(MACHINE)))))

$(O)/bpf/heapd.bpf.o: bpf/distributions.h
$(O)/bpf/%.bpf.o: bpf/%.bpf.c
	@mkdir -p $(@D)
	$(call run,BPF,clang -target bpf -D__TARGET_ARCH_$(BPF_ARCH) -I/usr/include/$(shell $(CC) -print-multiarch) -g -O2 -Wall -Wextra -Werror \
		-c -o $@ $<)

$(O)/bpf/%.skel.h: $(O)/bpf/%.bpf.o
	$(call run,SKEL,$(BPFTOOL) gen skeleton $< name $*_bpf >$@)

$(O)/bpf/loader.o: $(O)/bpf/heapd.skel.h
# Where it looks for daemon and library unless told.
EXPORTER_PATHS = -DEXPORTER_DAEMON='"$(sbindir)/heapd"' -DEXPORTER_LIBRARY='"$(libdir)/$(SONAME)"'
$(O)/.paths: FORCE | $(O)/
	$(call keep,$(EXPORTER_PATHS))
$(O)/bpf/exporter.o: $(O)/.paths
$(O)/bpf/exporter.o $(O)/bpf/loader.o: UNIT_FLAGS = $(PROG_FLAGS) -isystem $(O)/bpf -DEXPORTER_VERSION='"$(VERSION)"' $(EXPORTER_PATHS)

$(O)/heapd-exporter: $(EXPORTER_OBJ) $(O)/.sources
	$(call run,LD,$(call link,$(CC) $(ALL_CFLAGS),,-levent_core -levent_extra -lsystemd -lcap-ng $(if $(HAVE_BPF),-lbpf -lelf)))

# $(call program,source,folder under $(O),common objects): one test, stress or bench program.
define program
$(O)/$2/$(call names,$1): $(call objects,$1) $3 $(FIXTURE) $(LIBHEAPDD) \
		$(if $(filter $1 $(FIXTURE_SRC),$(INNER_SRC)),$(INNER),$(LIBHEAPD)) | $(O)/$2/
	$$(call run,LD,$$(call link,$(if $(filter %.cc,$1),$$(CXX) $$(ALL_CXXFLAGS),$$(CC) $$(ALL_CFLAGS)),/..,\
		$$(CHECK_LIBS) $$(DAEMON_LIBS) $$(addprefix -Wl$$(comma)--no-as-needed ,\
		$$(foreach p,$$(call peers_of,$(call names,$1)),$$(LIBS_$$p))) $$(LDLIBS_$(call names,$1))))
endef
comma := ,

$(foreach s,$(TEST_SRC),$(eval $(call program,$s,tests)))
$(foreach s,$(STRESS_SRC),$(eval $(call program,$s,stress,$(STRESS))))
$(foreach s,$(CRASH_SRC),$(eval $(call program,$s,crash,$(CRASH_OBJ))))
$(foreach s,$(BENCH_SRC),$(eval $(call program,$s,bench,$(BENCH_OBJ))))

$(O)/crash/fail.so: tests/crash/interpose/fail.c tests/crash/interpose/fail.h $(O)/.flags | $(O)/crash/
	$(call run,LD,$(CC) $(ALL_CFLAGS) -Wno-missing-prototypes $(werror) -fPIC -shared $(to) $< $(whole))
$(O)/crash/shortage: | $(O)/crash/fail.so $(HEAPD)

# The daemon once more, with a scavenger that is in a hurry: so that lives in which memory is given back are short enough to have many.
$(O)/hasty/daemon/scavenger.o: daemon/scavenger.c $(O)/.flags
	@mkdir -p $(@D)
	$(call run,CC,$(CC) $(ALL_CFLAGS) $(DAEMON_FLAGS) -DSCAVENGER_PERIOD_NS='UINT64_C(200000000)' $(werror) -MMD -MP -c -o $@ $< $(lax))
$(O)/crash/heapd: $(MAIN_OBJ) $(O)/hasty/daemon/scavenger.o $(LIBHEAPDD) | $(O)/crash/
	$(call run,LD,$(call link,$(CC) $(ALL_CFLAGS),/..,$(DAEMON_LIBS)))
$(O)/crash/stores: | $(O)/crash/heapd

$(O)/tests/unsealed.so: tests/interpose/unsealed.c $(O)/.flags | $(O)/tests/
	$(call run,LD,$(CC) $(ALL_CFLAGS) -Wno-missing-prototypes $(werror) -fPIC -shared $(to) $< $(whole))
$(O)/tests/check_lost: | $(O)/tests/unsealed.so $(HEAPD)

# With FUZZER=1, by clang: libFuzzer has the main.
$(FUZZ_BIN): $(O)/fuzz/%: $(O)/tests/fuzz/%.o $(FUZZ_OBJ) $(if $(FUZZER),,$(O)/tests/fuzz/replay.o) $(FIXTURE) $(LIBHEAPDD) $(LIBHEAPD) | $(O)/fuzz/
	$(call run,LD,$(call link,$(CC) $(ALL_CFLAGS) $(if $(FUZZER),-fsanitize=fuzzer),/..,$(DAEMON_LIBS)))

# The daemon once more, with a call at each of its loads, which reads.c has: no ThreadSanitizer is in it.
TRACED_OBJ := $(patsubst $(O)/%,$(O)/traced/%,$(DAEMON_OBJ))

$(O)/traced/%.o: %.c $(O)/.flags
	@mkdir -p $(@D)
	$(call run,CC,$(CC) $(ALL_CFLAGS) $(PROG_FLAGS) -O1 -fno-inline -fsanitize=thread $(NO_WTSAN_GCC) $(werror) -MMD -MP -c -o $@ $< $(lax))

$(O)/fuzz/reads: $(O)/tests/fuzz/reads.o $(O)/tests/fuzz/inputs.o $(O)/tests/fuzz/memory.o $(O)/tests/fuzz/machine.o $(TRACED_OBJ) $(FIXTURE) $(LIBHEAPD) $(O)/.sources | $(O)/fuzz/
	$(call run,LD,$(call link,$(CC) $(ALL_CFLAGS),/..,$(DAEMON_LIBS)))

# The same, a daemon that notes what it loads, for bits.c.
$(O)/crash/traced: $(TRACED_OBJ) $(O)/traced/daemon/main.o $(O)/tests/crash/interpose/loads.o | $(O)/crash/
	$(call run,LD,$(call link,$(CC) $(ALL_CFLAGS),/..,$(DAEMON_LIBS)))
$(O)/crash/bits: | $(if $(SAN),,$(O)/crash/traced)

# And once more for images.c, which is told of each store, those of libc's functions among them. Nothing is inlined that could be a call.
STORED_OBJ := $(patsubst $(O)/%,$(O)/stored/%,$(DAEMON_OBJ))
STORED_FLAGS := -fsanitize=thread $(if $(findstring gcc,$(CC)),--param tsan-instrument-func-entry-exit=0) $(NO_WTSAN_GCC) -fno-builtin-memcpy -fno-builtin-memmove -fno-builtin-memset \
		-include tests/crash/images_pair.h
IMAGES_WRAP := memset memcpy memmove mmap munmap __clone getrandom notify_send

$(O)/stored/%.o: %.c $(O)/.flags
	@mkdir -p $(@D)
	$(call run,CC,$(CC) $(ALL_CFLAGS) $(PROG_FLAGS) $(STORED_FLAGS) $(werror) -MMD -MP -c -o $@ $< $(lax))

$(O)/crash/images: $(call objects,$(IMAGES_SRC)) $(STORED_OBJ) $(FIXTURE) $(LIBHEAPD) $(O)/.sources | $(O)/crash/
	$(call run,LD,$(call link,$(CC) $(ALL_CFLAGS) $(IMAGES_WRAP:%=-Wl$(comma)--wrap=%),/..,$(DAEMON_LIBS)))

$(O)/tests/check_inject $(O)/tests/check_touch: | $(O)/inject/libheapd.so
$(O)/tests/check_cycletrace: $(O)/bpf/cycletrace.o
LDLIBS_check_sample := -Wl,--wrap=heapd_probe_sample -lm
$(O)/tests/check_profile $(O)/tests/check_walk $(O)/tests/check_changing $(O)/tests/check_misfree: | $(HEAPCTL) $(DEMO)

$(O)/tests/ $(O)/stress/ $(O)/crash/ $(O)/fuzz/ $(O)/bench/:
	@mkdir -p $@

ifeq ($(filter clean help format tidy uninstall,$(MAKECMDGOALS)),)
-include $(shell find $(O) -name '*.d' -type f -not -path '$(O)/deb/*' -not -path '$(O)/san/*' -not -path '$(O)/tsan/*' -not -path '$(O)/shaken/*' -not -path '$(O)/libfuzzer/*' 2>/dev/null)
endif

# Checks --------------------------------------------------------------------------------------------------------------

.PHONY: shaken check check-run test lint san model service demo noprobes bench bench-build bench-mark bench-pause bench-probes deps-bench deps-memlab

# Two programs at a time: most wait more than they compute. Alone: those that look at each process which has the library,
# the one that takes huge pages from the machine, and those that say how much of a processor something takes.
CHECK_LANES ?= 2
CHECK_ALONE := check_bpftrace check_exporter check_scrape check_hugetlb check_hostile check_cost

# What the scripts that check sources and library need to know.
checkenv = CHECK_LIMIT_check_service=300 CHECK_LIMIT_check_crash=400 CHECK_LIMIT_check_stops=300 HEAPD_TEST_BUILD='$(abspath $(O))' HEAPD_UNIT_FLAGS='-std=gnu17 $(C_WARNINGS) $(BASE) -O2' \
	   HEAPD_UNIT_CXXFLAGS='-std=gnu++17 $(WARNINGS) $(BASE) -O2'
lanes = CHECK_LANES=$(CHECK_LANES) CHECK_ALONE='$(CHECK_ALONE)'
LINTS := scripts/check-headers scripts/check-clang scripts/check-format scripts/check-layers scripts/check-manual \
	 scripts/check-units scripts/check-recipes scripts/check-sentences $(if $(LIB_SRC),scripts/check-library scripts/check-install)

check: ## everything that must hold, from a bare Debian 12 on: install what is missing, build, check, test
	@scripts/install-deps check
	$(SUBMAKE) $(JOBS) WERROR=1 tests
	$(SUBMAKE) WERROR=1 shaken
	@scripts/install-memlab $(O)/memlab || true
	$(SUBMAKE) check-run

# The long ones first.
check-run:
	@$(checkenv) $(lanes) scripts/run-checks $(TEST_SH) $(LINTS) $(TEST_BIN)

TESTS_BUILT := $(TEST_BIN) $(TEST_SH)
TESTS_RUN := $(if $(T),$(foreach t,$(patsubst check_%,%,$T),$(or \
	       $(filter %/check_$t %/check_$t.sh,$(TESTS_BUILT)),$(error there is no test "$t"))),$(TESTS_BUILT))

# What scripts among the tests run.
needs = $(if $(if $T,$(filter $1 check_$1,$T),all),$2)
TESTS_NEED := $(call needs,fuzz,$(FUZZ_BIN)) $(call needs,reads,$(if $(SAN),,$(O)/fuzz/reads)) $(call needs,crash,$(CRASH_BIN)) $(call needs,stops,$(CRASH_BIN)) $(call needs,images,$(if $(SAN),,$(O)/crash/images)) $(call needs,shortage,$(O)/crash/shortage) $(call needs,fastpath,$(O)/tests/check_warm)

test: $(if $T,$(if $(filter stress check_stress,$T),shaken),shaken) $(if $(filter %.sh,$(TESTS_RUN)),all,$(LIBHEAPD) $(HEAPD)) $(filter-out %.sh,$(TESTS_RUN)) $(TESTS_NEED) ## build and run tests, no other check; T="pages spans" picks
	@$(checkenv) $(lanes) scripts/run-checks $(TESTS_RUN)

lint: all ## the checks of sources, headers and library, no tests
	@$(checkenv) scripts/run-checks $(LINTS)

# scripts/run-san has the list of what a sanitizer cannot run, with reasons.
san: ## the tests under ASan and UBSan (build/san), then those of programs under TSan (build/tsan); T="pages spans" picks
	@scripts/install-deps check
	$(SUBMAKE) $(JOBS) O=$(O)/san SAN=address,undefined tests shaken
	$(SUBMAKE) $(JOBS) O=$(O)/tsan SAN=thread tests
	@$(checkenv) $(lanes) scripts/run-san address $(O)/san $T; status=$$?; \
		$(checkenv) $(lanes) scripts/run-san thread $(O)/tsan $T && exit $$status

model: ## check the models of the collector, the large instances too, and print what was found (tests/model)
	@scripts/install-deps model
	@HEAPD_TEST_BUILD='$(abspath $(O))' tests/model/run all

# The stress runs a build of its own: with delays, with mutants to choose from, and with a daemon to which seconds pass
# faster and pieces of work are small.
SHAKEN := -DHEAPD_INJECT -DHEAPD_MUTANT -DSUPPLY_SECOND_NS=20000000u \
	  -DSUPPLY_STRANDED_MIN=65536ul -DMARKER_PORTION=512 -DSWEEPER_PIECE=256u
SECONDS ?= 60

shaken:
	$(SUBMAKE) $(JOBS) O=$(O)/shaken CPPFLAGS='$(SHAKEN)' stress-build

stress: shaken ## the collector under stress, for SECONDS=60; HEAPD_TEST_SEED= has a run again
	@HEAPD_STRESS_SECONDS=$(SECONDS) scripts/run-stress $(abspath $(O)/shaken)

# What was covered is kept from one program to the next, then judged: all instructions of all operations first, then, in operations that
# are varieties of those, instructions that nobody was killed at. CRASH_GAPS: instructions of the library that no operation comes to, and
# that tests/crash/explained.txt does not explain: one was open after a round whose last parts had been ended, more than ten after others. It may only go
# down.
CRASH_GAPS ?= 12
CRASH_COVERED := $(O)/crash/covered
# The same of the daemon's stores, and of tests/crash/explained-stores.txt: three rounds from nothing, each of which goes on where the last one
# ended, left one of 2,110, and what is left differs from run to run. It may only go down.
CRASH_STORES_GAPS ?= 4
CRASH_STORES := $(O)/crash/stores.covered
crash: crash-clients ## any client killed at every instruction of every operation, the daemon at every store: hours
	@HEAPD_TEST_BUILD='$(abspath $(O))' $(O)/crash/kill --stop --stores $(CRASH_ARGS)
	$(SUBMAKE) crash-stores
	$(SUBMAKE) crash-images
	$(SUBMAKE) crash-bits
	@export HEAPD_TEST_BUILD='$(abspath $(O))'; $(O)/crash/faults && $(O)/crash/shortage

crash-bits: ## of that, every bit that a client can write, in three heaps at once: an hour
	@scripts/install-deps check
	$(SUBMAKE) $(JOBS) tests
	@export HEAPD_TEST_BUILD='$(abspath $(O))'; for heap in plain collected stress; do \
		$(O)/crash/bits --heap $$heap & pids="$$pids $$!"; \
	done; for pid in $$pids; do wait $$pid || status=1; done; exit $${status:-0}

IMAGES ?= 1000000
crash-images: ## of that, memory as it is after each store of a daemon's, and of a recovery's, recovered: IMAGES=1000000
	$(SUBMAKE) $(JOBS) $(O)/crash/images
	@$(O)/crash/images $(IMAGES)

crash-stores: ## of that, the daemon, and whether each of its stores has had its death: an hour
	@scripts/install-deps check
	$(SUBMAKE) $(JOBS) tests
	@rm -f $(CRASH_STORES)
	@export HEAPD_TEST_BUILD='$(abspath $(O))'; for round in 1 2 3; do \
		$(O)/crash/stores --again 12 --cover $(CRASH_STORES) --sites $(CRASH_STORES).all || exit; \
	done; $(O)/crash/stores --chore late --cover $(CRASH_STORES) || exit; \
	$(O)/crash/images --places $(O)/crash/images.places 100000 || exit; \
	tests/crash/gaps $(O)/crash/heapd $(CRASH_STORES) $(CRASH_STORES_GAPS) tests/crash/explained-stores.txt $(CRASH_STORES).all \
		$(O)/crash/images $(O)/crash/images.places

crash-clients: ## of that, clients killed, and whether every instruction of the library has had its death
	@scripts/install-deps check
	$(SUBMAKE) $(JOBS) tests
	@rm -f $(CRASH_COVERED)
	@export HEAPD_TEST_BUILD='$(abspath $(O))'; for path in --cas "" --hardened; do \
		$(O)/crash/kill $$path --cover $(CRASH_COVERED) $(CRASH_ARGS) || exit; \
	done
	$(SUBMAKE) crash-more

# Processes that wander come to most by themselves; what is left the operations come to one after the other. Of 64, after a thousand, three
# come to something new.
CRASH_WANDER ?= 1280
crash-more: ## of that, only instructions that had no death yet: processes that wander, and the varieties
	@export HEAPD_TEST_BUILD='$(abspath $(O))'; for path in "" --cas --hardened; do \
		$(O)/crash/kill $$path --wander $(CRASH_WANDER) --cover $(CRASH_COVERED) || exit; \
	done; for path in --cas "" --hardened; do \
		$(O)/crash/kill $$path --fresh --cover $(CRASH_COVERED) && $(O)/crash/kill $$path --fresh --more --cover $(CRASH_COVERED) || exit; \
	done; tests/crash/gaps $(O)/libheapd.so $(CRASH_COVERED) $(CRASH_GAPS)

# Of the library's stores those that nobody was stopped at, and that tests/crash/explained-stops.txt does not explain. All operations are
# tried at all stores first; then all of them and their varieties, by processes that wander, at what is left. It may only go down.
# A stopped process holds up collection, and others only as long as the heap may grow: it may, by more than wanderers leave meanwhile.
CRASH_STOPS_GAPS ?= 0
CRASH_STOPS_WANDER ?= 640
CRASH_STOPS := $(O)/crash/stops.covered
crash-stops: ## clients stopped at each of their stores, and going on late, in all operations; and whether each store has had its stop
	@scripts/install-deps check
	$(SUBMAKE) $(JOBS) tests
	@rm -f $(CRASH_STOPS)
	@export HEAPD_TEST_BUILD='$(abspath $(O))'; $(O)/crash/kill --stop --stores --cover $(CRASH_STOPS) --sites $(CRASH_STOPS).all || exit; \
	for path in "" --cas --hardened; do \
		$(O)/crash/kill $$path --set heap.test.Limit=1G --stop --stores --wander $(CRASH_STOPS_WANDER) --cover $(CRASH_STOPS) || exit; \
	done; tests/crash/gaps $(O)/libheapd.so $(CRASH_STOPS) $(CRASH_STOPS_GAPS) tests/crash/explained-stops.txt $(CRASH_STOPS).all

# SECONDS for each target; what is new goes to build/libfuzzer/found/TARGET, what fails to build/libfuzzer.
FUZZ_ONLY ?= $(call names,$(FUZZ_SRC))
fuzz: ## libFuzzer over what clients can write, and over their messages, under ASan and UBSan: SECONDS=60 each; FUZZ_ONLY="memory" picks
	@scripts/install-deps check
	$(SUBMAKE) $(JOBS) O=$(O)/libfuzzer CC=clang SAN=fuzzer-no-link,address,undefined FUZZER=1 fuzz-build
	@for t in $(FUZZ_ONLY); do mkdir -p $(O)/libfuzzer/found/$$t; (cd $(O)/libfuzzer && fuzz/$$t -max_total_time=$(SECONDS) -timeout=60 \
		-rss_limit_mb=0 -max_len=4096 -print_final_stats=1 found/$$t $(CURDIR)/tests/fuzz/corpus/$$t) || exit; done

fuzz-build: $(FUZZ_BIN)

soak: tests ## all that make crash does, mixed, by other seeds each time, for SECONDS=60
	@tests/crash/soak $(abspath $(O)) $(SECONDS)

stress-mutants: shaken ## does the stress find mistakes? each rule of the collector left out in turn; T="one_round ..." picks
	@scripts/run-mutants $(abspath $(O)/shaken) $T

service: ## the installed service under a systemd of its own: a hundred restarts and a hundred upgrades under load
	@scripts/install-deps check
	$(SUBMAKE) $(JOBS) all
	@HEAPD_TEST_BUILD='$(abspath $(O))' SERVICE_LIMIT=1500 tests/service/boot $(or $(SERVICE_ROUNDS),100)

demo: ## the main job on this machine's own files, from a bare Debian 12 on; DEMO_ARGS are handed on
	@scripts/install-deps build
	$(SUBMAKE) $(JOBS) all
	@$(O)/heapd-demo $(DEMO_ARGS)

bench-build: all $(BENCH_BIN)
	$(if $(PEERS_MISSING),@echo 'bench: left out because they are missing: $(PEERS_MISSING) (try "make deps-bench")')

# With BENCH_ONLY or BENCH_ARGS, which pick among them: the allocators alone.
# The same without probes: what the comparison of probes runs.
NOPROBES := heapd libheapd.so bench/probes
NOPROBES_WANTED = $(if $(BENCH_ONLY)$(BENCH_ARGS),,$(if $(BENCH_PARTS),$(filter probes,$(BENCH_PARTS)),yes))
noprobes:
	$(SUBMAKE) $(JOBS) O=$(O)/noprobes PROBES=no $(NOPROBES:%=$(O)/noprobes/%)

bench: bench-build $(if $(NOPROBES_WANTED),noprobes) ## all comparisons: build/bench/bench.md and plots; BENCH_SHORT=1: minutes; BENCH_PARTS="share work", BENCH_ROUNDS=9, BENCH_ONLY="pair 64" pick
	@BENCH_ONLY='$(or $(BENCH_ARGS),$(BENCH_ONLY))' tests/bench/page-run $(abspath $(O))/bench $(if $(BENCH_SHORT),short) \
		$(or $(BENCH_PARTS),$(if $(BENCH_ONLY)$(BENCH_ARGS),allocators))

bench-mark: bench-build ## compare the marker with Go's and bdwgc's, and with a bare loop; BENCH_ROUNDS=5
	@tests/bench/mark-run $(abspath $(O))/bench $(or $(BENCH_ROUNDS),5)

bench-probes: all noprobes $(O)/bench/probes ## what probes cost: compiled out, idle, exporter attached, scripts running: under 5 minutes; BENCH_SECONDS=240
	@BENCH_SECONDS=$(BENCH_SECONDS) tests/bench/page-run $(abspath $(O))/bench probes

bench-pause: bench-build ## what collections cost a client, beside ZGC, G1, Go and bdwgc: 8 minutes; BENCH_SHORT=1: one
	@tests/bench/pause-run $(abspath $(O))/bench $(if $(BENCH_SHORT),short)

deps-bench: ## install the allocators and collectors that benches compare with
	@scripts/install-deps build bench

deps-memlab: ## install memlab, by npm, for the test that compares heapctl's snapshots with it (build/memlab)
	@scripts/install-memlab $(O)/memlab

# Care of the sources -------------------------------------------------------------------------------------------------

.PHONY: format tidy clean help

format: ## clang-format over all sources, in place; F="daemon/log.c" picks
	$(Q)clang-format -i $(or $F,$(SOURCES))

TIDY = $(filter %.c,$(or $F,$(filter-out tests/%,$(UNITS))))
# libcheck's START_TEST makes a global of every test.
GLOBALS = cppcoreguidelines-avoid-non-const-global-variables
tidy = xargs -r -P $(shell nproc) -I{} clang-tidy --quiet $1 {} -- -std=gnu17 $(BASE)

tidy: ## clang-tidy over daemon, client and their headers; F="tests/check_log.c" picks
	@scripts/install-deps tidy
	$(Q)bad=0; \
	printf '%s\n' $(filter-out tests/%,$(TIDY)) | $(call tidy,) || bad=1; \
	printf '%s\n' $(filter tests/%,$(TIDY)) | $(call tidy,--checks=-$(GLOBALS)) || bad=1; \
	exit $$bad

clean: ## remove the build directory
	$(Q)rm -rf $(O)

# Install -------------------------------------------------------------------------------------------------------------

.PHONY: install uninstall

INSTALL ?= install
MANPAGES := $(wildcard man/*.[1-8])
# All of it is commented out: an example, which no install lays over the file in use.
EXAMPLES := $(wildcard daemon/heapd.conf bpf/heapd.rules.yml bpf/heapd.dashboard.json)
# bpftrace scripts name daemon and library by their paths.
SCRIPTS := $(wildcard bpf/*.bt)
manpath = $(mandir)/man$(patsubst .%,%,$(suffix $1))/$(notdir $1)
# heapd.h and, of the contract between the processes, only what it includes.
PUBLIC = $(filter include/%.h,$(shell $(CC) -MM -Iinclude include/heapd.h))

# A DESTDIR that is not absolute, or has a blank in it, is taken as the shell takes it between quotes.
D = "$(DESTDIR)"

$(O)/heapd.pc: heapd.pc.in FORCE | $(O)/
	@sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(libdir)|' -e 's|@INCLUDEDIR@|$(includedir)|' \
		-e 's|@VERSION@|$(VERSION)|' $< >$@

UNITS_IN   := $(wildcard systemd/*.service.in)
UNIT_FILES := $(wildcard systemd/*.socket systemd/*.service) $(patsubst systemd/%.in,$(O)/systemd/%,$(UNITS_IN))

$(O)/systemd/%: systemd/%.in FORCE
	@mkdir -p $(@D)
	@sed -e 's|@SBINDIR@|$(sbindir)|g' -e 's|@BINDIR@|$(bindir)|g' $< >$@

.PHONY: units
units: $(UNIT_FILES) ## the units, as install would write them (build/systemd)

# What goes where as it is: pairs FILE:FOLDER.
PLAIN := $(foreach u,$(UNIT_FILES),$u:$(unitdir)) \
	 $(foreach f,$(wildcard systemd/sysusers.d/*.conf),$f:$(sysusersdir)) \
	 $(foreach f,$(wildcard systemd/tmpfiles.d/*.conf),$f:$(tmpfilesdir)) \
	 $(foreach f,$(wildcard catalog/*.catalog),$f:$(catalogdir)) \
	 $(foreach f,$(filter-out completion/zsh,$(wildcard completion/*)),$f:$(completionsdir)) \
	 $(foreach f,$(wildcard completion/zsh/*),$f:$(zshdir))
plain_to = $(lastword $(subst :, ,$1))/$(notdir $(firstword $(subst :, ,$1)))

install: all $(O)/heapd.pc $(UNIT_FILES) ## install all: programs, library, headers, units, manual; DESTDIR=, PREFIX=/usr/local, libdir= ...
	$(Q)$(INSTALL) -d $D$(sbindir) $D$(libdir) $D$(pcdir) $D$(includedir)/heapd
	$(if $(HEAPD),$(Q)$(INSTALL) -m 755 $(HEAPD) $D$(sbindir)/heapd)
	$(if $(HEAPCTL),$(Q)$(INSTALL) -D -m 755 $(HEAPCTL) $D$(bindir)/heapctl)
	$(if $(DEMO),$(Q)$(INSTALL) -D -m 755 $(DEMO) $D$(bindir)/heapd-demo)
	$(if $(HEAPCTL),$(Q)$(INSTALL) -D -m 644 client/heapctl/completion.bash $D$(completionsdir)/heapctl)
	$(if $(EXPORTER),$(Q)$(INSTALL) -m 755 $(EXPORTER) $D$(sbindir)/heapd-exporter)
	$(foreach s,$(SCRIPTS),$(Q)sed -e 's|/usr/local/sbin/|$(sbindir)/|' -e 's|/usr/local/lib/|$(libdir)/|' $s >$D$(sbindir)/$(notdir $s) \
		&& chmod 755 $D$(sbindir)/$(notdir $s)$(newline))
	$(Q)$(INSTALL) -m 755 $(LIBHEAPD) $D$(libdir)/libheapd.so.$(VERSION)
	$(Q)ln -sf libheapd.so.$(VERSION) $D$(libdir)/$(SONAME)
	$(Q)ln -sf $(SONAME) $D$(libdir)/libheapd.so
	$(Q)$(INSTALL) -m 644 $(O)/heapd.pc $D$(pcdir)/heapd.pc
	$(Q)for h in $(PUBLIC:include/%=%); do $(INSTALL) -m 644 include/$$h $D$(includedir)/$$h || exit; done
	$(foreach e,$(EXAMPLES),$(Q)$(INSTALL) -D -m 644 $e $D$(docdir)/$(notdir $e)$(newline))
	$(foreach m,$(MANPAGES),$(Q)$(INSTALL) -D -m 644 $m $D$(call manpath,$m)$(newline))
	$(foreach p,$(PLAIN),$(Q)$(INSTALL) -D -m 644 $(firstword $(subst :, ,$p)) $D$(call plain_to,$p)$(newline))
	$(Q)if [ -z $D ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

uninstall: ## remove what install put there (same DESTDIR and PREFIX)
	$(Q)rm -f $D$(bindir)/heapctl $D$(bindir)/heapd-demo $D$(completionsdir)/heapctl
	$(Q)rm -f $D$(sbindir)/heapd $D$(sbindir)/heapd-exporter $(foreach s,$(SCRIPTS),$D$(sbindir)/$(notdir $s))
	$(Q)rm -f $D$(libdir)/libheapd.so.$(VERSION) $D$(libdir)/$(SONAME) $D$(libdir)/libheapd.so \
		$D$(pcdir)/heapd.pc $D$(includedir)/heapd.h
	$(Q)for h in $(notdir $(wildcard include/heapd/*.h)); do rm -f $D$(includedir)/heapd/$$h; done
	$(Q)rmdir $D$(includedir)/heapd 2>/dev/null || true
	$(foreach e,$(EXAMPLES),$(Q)rm -f $D$(docdir)/$(notdir $e)$(newline))
	$(Q)rmdir $D$(docdir) 2>/dev/null || true
	$(foreach m,$(MANPAGES),$(Q)rm -f $D$(call manpath,$m)$(newline))
	$(foreach p,$(PLAIN),$(Q)rm -f $D$(call plain_to,$p)$(newline))
	$(Q)if [ -z $D ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

.PHONY: deb

# Built from the files that git has, in a folder of its own, so that nothing of this one gets into it.
DEB_DIR := $(abspath $(O))/deb
deb: ## Debian packages (build/deb), and what lintian says of them
	@scripts/install-deps check deb
	$(Q)rm -rf $(DEB_DIR) && mkdir -p $(DEB_DIR)/heapd
	$(Q)git ls-files -z | xargs -0 cp --parents -t $(DEB_DIR)/heapd
	+$(Q)cd $(DEB_DIR)/heapd && env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS dpkg-buildpackage -us -uc -b
	$(Q)cd $(DEB_DIR) && lintian --fail-on error --allow-root *.changes
	@ls -l $(DEB_DIR)/*.deb

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14
	@printf '\n%s\n%s\n%s\n' 'Variables: V=1 verbose   O=DIR build elsewhere   WERROR=1 warnings are errors   CC= CXX= CFLAGS= LDFLAGS=' \
		'           PREFIX= DESTDIR= libdir= includedir= sbindir= mandir=   T= tests to run   F= files to format or tidy' \
		'           PROBES=no without USDT probes'
