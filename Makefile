# Graft: one Makefile.
#
#   make                 build/graft and build/libgraft.so
#   make demo            install what is missing, build, train -> prune -> engine on Fashion-MNIST
#   make demo-detect     the same for a detector, on pictures that it draws
#   make check           the quick tests (under a minute)
#   make test            install, build, everything testable without a GPU
#   make test-long       the exhaustive part: long fuzzing, all kills, all architectures
#   make dist            dist/*.tar.gz: runs on any x86-64 Linux, with or without a GPU
#   make spills          registers and spills of every CUDA kernel, for every target
#   make bench | peers   speed; the virtual environment with the peers
#   make deps            Debian packages for all of this; deps-demo, deps-build: for less
#   make install PREFIX=/usr/local
#
#   CUDA=0|1  ONEDNN=0|1  MPI=0|1     backends (default: what is installed)
#   IMAGES="gif webp tiff heif"       image formats beside JPEG, PNG, BMP, PNM (default: those installed; IMAGES= for none)
#   SIMT=1                            the CUDA backend compiled for the CPU (docs/SIMT.md)
#   SAN=address|undefined|thread      sanitizers (thread: without oneDNN and OpenMP)
#   CUDA_ARCHS="75 86"                GPU targets (default: the GPUs here, else 80 with its PTX);  CUDA_PTX=80  PTX for later GPUs
#   CUDA_ARCHS=all                    75 80 86 87 89 90a and PTX for 90: make dist, make spills;  CUDA_HOME=/usr/local/cuda
#   OPT=-O0                           for debugging
#   -jN                               jobs at once (default: one per processor)

# Where nobody says how many: not in this command line, which wins over what is set here, not in MAKEFLAGS, not by a make above this one.
# What measures speed runs alone.
ifeq ($(MAKELEVEL),0)
JOBS_ASKED := $(filter -j% --jobs%,$(MAKEFLAGS)) $(shell tr '\0' '\n' 2>/dev/null </proc/$$PPID/environ | grep -E '^(GNU)?MAKEFLAGS=.*(-j|--jobs)')
ifeq ($(strip $(JOBS_ASKED) $(filter bench%,$(MAKECMDGOALS))),)
MAKEFLAGS += -j$(shell nproc)
endif
endif

CC ?= gcc
PREFIX ?= /usr/local
BUILD ?= build
OPT ?= -O2
SAN ?=

have = $(if $(wildcard $(addsuffix /$(1),/usr/include /usr/local/include /usr/include/x86_64-linux-gnu)),1,0)
ONEDNN ?= $(call have,oneapi/dnnl/dnnl.h)
MPI ?= 0
# Formats whose library may be absent, and the headers that tell.
ALL_IMAGES := gif webp tiff heif
HEADER_gif := gif_lib.h
HEADER_webp := webp/decode.h
HEADER_tiff := tiffio.h
HEADER_heif := libheif/heif.h
IMAGES_ASKED := $(filter command environment,$(origin IMAGES))
IMAGES ?= $(foreach i,$(ALL_IMAGES),$(if $(filter 1,$(call have,$(HEADER_$(i)))),$(i)))
ifneq ($(filter-out $(ALL_IMAGES),$(IMAGES)),)
$(error IMAGES="$(IMAGES)": expected some of $(ALL_IMAGES))
endif
CUDA_HOME ?= /usr/local/cuda
NVCC ?= $(CUDA_HOME)/bin/nvcc
HAVE_NVCC := $(if $(wildcard $(NVCC)),1,0)
CUDA_DEFAULT := $(HAVE_NVCC)
SIMT ?= 0
OPENMP ?= 1
ifeq ($(SIMT),1)
override CUDA := 0
endif
CUDA ?= $(if $(SAN),0,$(CUDA_DEFAULT))
ifeq ($(CUDA)$(HAVE_NVCC),10)
$(error CUDA=1, but $(NVCC) is not there: set CUDA_HOME or NVCC)
endif
ifeq ($(SAN),thread)
override ONEDNN := 0
override OPENMP := 0
endif

# Targets of the CUDA kernels. sm_87 (Jetson) runs no other chip's code; without a GPU at hand, sm_80 with its PTX runs on whatever came later.
CUDA_ASKED := $(filter command environment,$(origin CUDA_ARCHS))
gpus = $(shell command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=compute_cap --format=csv,noheader | tr -d . | sort -u)
ifeq ($(CUDA_ARCHS),all)
override CUDA_ARCHS := 75 80 86 87 89 90a
CUDA_PTX ?= 90
CUDA_NAME := all
else ifeq ($(CUDA),1)
ifeq ($(CUDA_ASKED),)
GPUS := $(gpus)
GPUS_KNOWN := $(filter $(patsubst sm_%,%,$(shell $(NVCC) --list-gpu-code)),$(filter-out 5% 60 61 62 70 72,$(GPUS)))
CUDA_ARCHS := $(or $(patsubst 90,90a,$(GPUS_KNOWN)),80)
CUDA_PTX ?= $(if $(filter-out $(GPUS_KNOWN),$(or $(GPUS),none)),80)
endif
endif
CUDA_PTX ?=
ifneq ($(filter 50 52 53 60 61 62 70 72 75,$(CUDA_PTX)),)
$(error CUDA_PTX=$(CUDA_PTX): kernels choose by the GPU they run on, and compiled for less than 80 they trap on later ones: use CUDA_PTX=80 or more)
endif
empty :=
CUDA_NAME ?= $(subst $(empty) $(empty),-,$(strip $(CUDA_ARCHS) $(CUDA_PTX:%=ptx%)))
# The kernels' objects depend on their targets alone: builds with other switches share them.
CUDA_OBJECTS ?= $(BUILD)/cuda-$(CUDA_NAME)

# A build with other switches lives in its own folder, so that objects never mix.
images_name = $(if $(IMAGES_ASKED),-images$(subst $(empty) $(empty),,$(IMAGES:%=-%)))
VARIANT := $(if $(SAN),-$(SAN))$(if $(filter 0,$(ONEDNN)),-nodnnl)$(if $(filter 0,$(OPENMP)),-noomp)$(images_name)
# The CPU's library is the base of those with a GPU backend, which replace two of its objects and add kernels. The default has the plain name.
PLAIN := $(BUILD)$(VARIANT)$(if $(filter 1,$(CUDA_DEFAULT)),-cpu)
OUT := $(if $(filter 1,$(SIMT)),$(BUILD)$(VARIANT)-simt,$(if $(filter 1,$(CUDA)),$(BUILD)$(VARIANT)$(if $(filter 0,$(CUDA_DEFAULT)),-cuda),$(PLAIN)))
OBJ := $(OUT)/obj

CPPFLAGS += -I. -D_GNU_SOURCE
CFLAGS += -std=c11 $(OPT) -g -fPIC -fno-math-errno -ffp-contract=off -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes \
          -Wmissing-prototypes -Wno-missing-field-initializers -Werror -MMD -MP
# The archive leaves libexpat.so's need of glibc 2.36 behind (core/data/readers/expat_random.c); its symbols stay inside.
EXPAT ?= -lexpat
LDFLAGS += -Wl,--exclude-libs,libexpat.a
LDLIBS += -linih -lyajl -lyaml $(EXPAT) -lxxhash -ljpeg -lpng $(foreach i,$(IMAGES),-l$(i)) -lprotobuf-c -lz -lm -lpthread
ifneq ($(SAN),)
CFLAGS += -fsanitize=$(SAN) -fno-omit-frame-pointer $(if $(filter undefined,$(SAN)),-fno-sanitize-recover=all)
LDFLAGS += -fsanitize=$(SAN)
endif
ifeq ($(OPENMP),1)
CFLAGS += -fopenmp
LDFLAGS += -fopenmp
else
# What only a pragma reads is unused here.
CFLAGS += -Wno-unknown-pragmas -Wno-unused-function -Wno-unused-parameter
endif

# Sources by folder. A backend that is absent is another file, not a conditional in the code above it.
find_c = $(foreach d,$(1),$(wildcard $(d)/*.c $(d)/*/*.c $(d)/*/*/*.c))
UNUSED_IMAGES := $(foreach i,$(ALL_IMAGES),core/data/image_$(i)$(if $(filter $(i),$(IMAGES)),_absent).c)
UNUSED_EXPAT := $(if $(filter %.a,$(EXPAT)),,core/data/readers/expat_random.c)
CORE_SRC := $(filter-out $(UNUSED_IMAGES) $(UNUSED_EXPAT),$(call find_c,core))
KERNEL_SRC := $(wildcard kernels/*.c kernels/ref/*.c kernels/cpu/*.c)
ifeq ($(ONEDNN),1)
CPPFLAGS += -DGRAFT_ONEDNN=1
LDLIBS += -ldnnl
else
KERNEL_SRC := $(filter-out kernels/cpu/dnnl%.c,$(KERNEL_SRC))
endif
# kernels/cpu is compiled once per instruction set, each with its own kernels (KERNEL_CPU in kernels.def): a CPU without AVX-512 has those
# variants refuse. What must not be tripled is oneDNN's (it has its own run-time dispatch) and the detection itself.
CPU_SRC := $(filter-out kernels/cpu/dnnl%.c kernels/cpu/isa.c,$(wildcard kernels/cpu/*.c))
KERNEL_SRC := $(filter-out $(CPU_SRC),$(KERNEL_SRC))
CPU_ISAS := base avx2 avx512
ISA_base := -march=x86-64
ISA_avx2 := -march=x86-64-v3
ISA_avx512 := -march=x86-64-v4 -mprefer-vector-width=512
CPU_CFLAGS := -O3 -fopenmp-simd -fno-trapping-math
CUDA_SRC :=
ifeq ($(filter 1,$(CUDA) $(SIMT)),)
CORE_SRC := $(filter-out core/device/device_cuda.c,$(CORE_SRC))
else
CORE_SRC := $(filter-out core/device/device_cuda_absent.c,$(CORE_SRC))
CUDA_SRC := $(wildcard kernels/cuda/*.cu)
CPPFLAGS += -DGRAFT_CUDA=1
endif
ifeq ($(CUDA),1)
LDLIBS += -L$(CUDA_HOME)/lib64 -lcudart_static -ldl -lrt
endif
ifeq ($(SIMT),1)
# The same .cu sources for the CPU. Its vector unit has fused products and f16 where the machine that builds has them.
CPPFLAGS += -DGRAFT_SIMT=1 -Ikernels/simt/include
SIMT_ISA := $(if $(shell grep -m1 ' avx2 .* f16c\| f16c .* avx2' /proc/cpuinfo),-march=x86-64-v3)
SIMT_SRC := $(wildcard kernels/simt/*.c)
$(SIMT_SRC:%.c=$(OBJ)/%.o): CFLAGS += $(SIMT_ISA) -O3
CXXFLAGS += -std=c++20 -x c++ $(OPT) -g -fPIC -fno-math-errno -ffp-contract=off -fno-exceptions -fno-rtti -fno-threadsafe-statics \
            -Wall -Wno-unknown-pragmas -Werror -MMD -MP $(SIMT_ISA) $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)
endif
# No exceptions and no guarded statics: the objects need no C++ run-time library.
# A target's PTX is that of its generation, so that the front end runs once for 80, 86, 87 and 89, and once for 90a and later ones' PTX.
nvcc_ptx = $(if $(filter 86 87 88 89,$(1)),80,$(1:a=))
# Lines for profilers would be two thirds of a release.
NVCC_FLAGS := -std=c++20 -O3 -fmad=false $(if $(filter all,$(CUDA_NAME)),,-lineinfo) -Xptxas=-v,--warn-on-spills \
    -Xcompiler=-fPIC,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics,-ffp-contract=off,-Wall,-Werror \
    $(foreach a,$(CUDA_ARCHS),-gencode=arch=compute_$(call nvcc_ptx,$(a)),code=sm_$(a)) \
    $(foreach a,$(CUDA_PTX),-gencode=arch=compute_$(a),code=compute_$(a))
CORE_SRC := $(filter-out core/dist/comm_mpi.c core/dist/comm_nccl.c,$(CORE_SRC))
MODEL_SRC := $(call find_c,models)
PRUNE_SRC := $(wildcard prune/*.c)
EXPORT_SRC := $(wildcard export/*.c)
CLI_SRC := $(wildcard cli/*.c)

ONNX_PROTO ?= /usr/include/onnx/onnx.proto
GEN := $(OUT)/gen
LIB_SRC := $(CORE_SRC) $(KERNEL_SRC) $(MODEL_SRC) $(PRUNE_SRC) $(EXPORT_SRC)
CPU_OBJ := $(foreach isa,$(CPU_ISAS),$(CPU_SRC:%.c=$(OBJ)/%.$(isa).o))
CUDA_OBJ := $(CUDA_SRC:%.cu=$(if $(filter 1,$(SIMT)),$(OBJ),$(CUDA_OBJECTS))/%.o)
LIB_OBJ := $(LIB_SRC:%.c=$(OBJ)/%.o) $(CPU_OBJ) $(CUDA_OBJ) $(OBJ)/onnx.pb-c.o
CLI_OBJ := $(CLI_SRC:%.c=$(OBJ)/%.o)

.PHONY: all clean cuda-objects deps deps-build deps-demo demo demo-built demo-detect demo-detect-built dist dist-built check spills spills-built test test-long bench peers \
    install FORCE print-%
all: $(OUT)/graft $(OUT)/libgraft.so compile_commands.json

# ONNX's schema is Debian's (libonnx-dev); protoc-c turns it into C here, nothing generated is kept in the repository.
$(GEN)/onnx.pb-c.c $(GEN)/onnx.pb-c.h &: $(ONNX_PROTO)
	@mkdir -p $(GEN)
	@command -v protoc-c >/dev/null || { echo "protoc-c is missing: make deps-build (protobuf-c-compiler, libprotobuf-c-dev, libonnx-dev)" >&2; exit 1; }
	protoc-c --c_out=$(GEN) -I$(dir $(ONNX_PROTO)) $(ONNX_PROTO)
$(ONNX_PROTO):
	@echo "$@ is missing: make deps-build (libonnx-dev, protobuf-c-compiler, libprotobuf-c-dev)" >&2; exit 1
$(OBJ)/core/onnx/file_%.o: CPPFLAGS += -I$(GEN)
$(patsubst %.c,$(OBJ)/%.o,$(wildcard core/onnx/file_*.c)): $(GEN)/onnx.pb-c.h
$(OBJ)/onnx.pb-c.o: $(GEN)/onnx.pb-c.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -I$(GEN) -w -c $< -o $@

$(OBJ)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@

define cpu_rule
$(OBJ)/%.$(1).o: %.c Makefile
	@mkdir -p $$(@D)
	$$(CC) $$(CPPFLAGS) $$(CFLAGS) $$(CPU_CFLAGS) $$(ISA_$(1)) -DCPU_ISA=$(1) -DCPU_ISA_$(1) -c $$< -o $$@
endef
$(foreach isa,$(CPU_ISAS),$(eval $(call cpu_rule,$(isa))))
$(OBJ)/kernels/cpu/dnnl%.o: CFLAGS += -O3

ifeq ($(SIMT),1)
$(OBJ)/%.o: %.cu Makefile
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -c $< -o $@
# Watched: a function is called for every access, and kernels/simt/tsan.c is that function.
$(OBJ)/%.watched.o: %.cu Makefile
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -O1 -fsanitize=thread -c $< -o $@
$(OBJ)/core/device/device_cuda.o: CPPFLAGS += -DGRAFT_CUDA_ARCHS='""'
else
# x.ptxas keeps what the assembler said of registers and spills. Other flags (targets above all) compile anew, other Makefile edits do not.
$(CUDA_OBJECTS)/kernels/cuda/%.o: kernels/cuda/%.cu $(CUDA_OBJECTS)/nvcc-flags
	@mkdir -p $(@D)
	@echo "$(NVCC) $<"
	@$(NVCC) $(NVCC_FLAGS) -I. -MMD -MP -MF $(@:.o=.d) -MT $@ -c $< -o $@ 2>$(@:.o=.ptxas.tmp) || { cat $(@:.o=.ptxas.tmp); exit 1; }
	@mv $(@:.o=.ptxas.tmp) $(@:.o=.ptxas)
$(CUDA_OBJECTS)/nvcc-flags: FORCE
	@mkdir -p $(@D)
	@echo '$(NVCC) $(NVCC_FLAGS)' | cmp -s - $@ || echo '$(NVCC) $(NVCC_FLAGS)' >$@
$(OBJ)/core/device/device_cuda.o: $(CUDA_OBJECTS)/nvcc-flags
$(OBJ)/core/device/device_cuda.o: CPPFLAGS += -isystem $(CUDA_HOME)/include -DGRAFT_CUDA_ARCHS='"$(strip $(CUDA_ARCHS) $(CUDA_PTX:%=+%))"'
endif
cuda-objects: $(CUDA_OBJ)
FORCE:

ifneq ($(filter 1,$(SIMT) $(CUDA)),)
# All but a few objects are those of the plain build.
SIMT_OBJ := $(SIMT_SRC:%.c=$(OBJ)/%.o) $(OBJ)/kernels/dispatch.o $(OBJ)/core/device/device_cuda.o
$(PLAIN)/libgraft-all.a: FORCE
	@$(MAKE) --no-print-directory SIMT=0 CUDA=0 $@
$(OUT)/libgraft-all.a: $(PLAIN)/libgraft-all.a $(SIMT_OBJ) $(CUDA_OBJ)
$(OUT)/libgraft-watched.a: $(PLAIN)/libgraft-all.a $(SIMT_OBJ) $(CUDA_OBJ:.o=.watched.o)
$(OUT)/libgraft-all.a $(OUT)/libgraft-watched.a:
	cp $< $@
	ar d $@ dispatch.o device_cuda_absent.o
	ar q $@ $(filter-out $<,$^)
	ranlib $@
else
$(OUT)/libgraft-all.a: $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^
endif

# What programs are linked with; in a bundle they share one copy.
PROGRAM_LIB ?= $(OUT)/libgraft-all.a
$(OUT)/libgraft-all.so: $(OUT)/libgraft-all.a
	$(CC) -shared $(CFLAGS) $(LDFLAGS) -Wl,-Bsymbolic,-soname,$(@F) -Wl,--whole-archive $< -Wl,--no-whole-archive $(LDLIBS) -o $@
$(OUT)/graft: $(CLI_OBJ) $(PROGRAM_LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

# The C API only: nothing but the symbols of export/graft.h is visible.
$(OUT)/libgraft.so: $(OUT)/libgraft-all.a export/graft.map
	$(CC) -shared $(CFLAGS) $(LDFLAGS) -Wl,--version-script=export/graft.map -Wl,--whole-archive $(OUT)/libgraft-all.a \
	    -Wl,--no-whole-archive $(LDLIBS) -o $@

compile_commands.json: Makefile
	@{ echo '['; sep=''; for f in $(LIB_SRC) $(CPU_SRC) $(CLI_SRC); do \
	  printf '%s{"directory":"%s","file":"%s","command":"$(CC) $(CPPFLAGS) $(CFLAGS) -c %s"}' "$$sep" "$(CURDIR)" $$f $$f; sep=','; \
	done; echo ']'; } > $@

# Tests. tests/unit/test_x.c is one cmocka program; tests/*.mk adds the larger parts.
TEST_SRC := $(wildcard tests/unit/test_*.c)
TEST_BIN := $(TEST_SRC:tests/unit/%.c=$(OUT)/tests/%)
$(OUT)/tests/test_%: tests/unit/test_%.c $(OUT)/libgraft-all.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MF $@.d $(LDFLAGS) $< $(OUT)/libgraft-all.a $(LDLIBS) -lcmocka -o $@
-include $(wildcard tests/*/*.mk bench/*.mk)

check: all $(TEST_BIN) $(CHECK_PREREQS)
	@OUT=$(OUT) tests/run.sh check
test: deps
	@$(MAKE) --no-print-directory test-built
test-long: deps
	@$(MAKE) --no-print-directory long-built
test-built long-built: %-built: all $(TEST_BIN) $(CHECK_PREREQS) $(TEST_PREREQS)
	@OUT=$(OUT) tests/run.sh $*

# Unless other targets are asked for, all; kept in the ordinary build's folder.
CUDA_ALL_OBJECTS ?= $(BUILD)/cuda-all
all_targets := $(if $(CUDA_ASKED),,CUDA_ARCHS=all CUDA_OBJECTS=$(CUDA_ALL_OBJECTS))
spills:
	@$(MAKE) --no-print-directory CUDA=1 SIMT=0 SAN= $(all_targets) spills-built
spills-built: cuda-objects
	@tests/check/spills.sh $(CUDA_OBJECTS)

# A tarball for machines without packages: no oneDNN, no C++ run-time library. libheif and Debian's libtiff (through libLerc) need that one,
# so HEIC, AVIF and TIFF are left to builds on the machine itself. With CUDA where nvcc is.
DIST ?= dist
DIST_IMAGES ?= $(filter gif webp,$(IMAGES))
DIST_CUDA ?= $(HAVE_NVCC)
dist:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/dist SAN= ONEDNN=0 OPENMP=1 SIMT=0 IMAGES="$(DIST_IMAGES)" EXPAT=-l:libexpat.a \
	    CUDA=$(DIST_CUDA) $(all_targets) \
	    PROGRAM_LIB='$$(OUT)/libgraft-all.so' dist-built
dist-built: LDFLAGS += -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/../lib'
dist-built: all $(OUT)/tests/kernelcheck $(OUT)/bench-train
	@OUT=$(OUT) DIST=$(DIST) bench/bundle.sh

deps:
	@tests/deps.sh test
deps-build deps-demo deps-demo-detect: deps-%:
	@tests/deps.sh $*
# With the GPU if there is one; without, nobody waits for nvcc.
demo: deps-demo
	@$(MAKE) --no-print-directory CUDA=$(if $(gpus),$(CUDA),0) demo-built
demo-built: all
	@OUT=$(OUT) configs/demo.sh
demo-detect: deps-demo-detect
	@$(MAKE) --no-print-directory CUDA=$(if $(gpus),$(CUDA),0) demo-detect-built
demo-detect-built: all
	@OUT=$(OUT) configs/demo_detect.sh

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/include
	install $(OUT)/graft $(DESTDIR)$(PREFIX)/bin/graft
	install -m 644 $(OUT)/libgraft.so $(DESTDIR)$(PREFIX)/lib/libgraft.so
	install -m 644 export/graft.h $(DESTDIR)$(PREFIX)/include/graft.h
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	$(OUT)/graft man >$(DESTDIR)$(PREFIX)/share/man/man1/graft.1
	$(OUT)/graft completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/graft

clean:
	rm -rf build build-* compile_commands.json

print-%:
	@echo '$($*)'

-include $(shell find $(OBJ) $(if $(filter 1,$(CUDA)),$(CUDA_OBJECTS)) -name '*.d' 2>/dev/null)
