# Programs that test kernels/simt itself, and the harness, in builds with SIMT=1. x-watched: device code whose accesses are watched.
ifeq ($(SIMT),1)
SIMT_TESTS := $(patsubst tests/simt/%.cu,$(OUT)/tests/simt_%,$(wildcard tests/simt/*.cu))
$(SIMT_TESTS): $(OUT)/tests/simt_%: $(OBJ)/tests/simt/%.o $(OUT)/libgraft-all.a
$(SIMT_TESTS:%=%-watched): $(OUT)/tests/simt_%-watched: $(OBJ)/tests/simt/%.watched.o $(OUT)/libgraft-watched.a
$(OUT)/tests/kernelcheck-watched: $(KERNELCHECK_OBJ) $(OUT)/libgraft-watched.a
$(OUT)/graft-watched: $(CLI_OBJ) $(OUT)/libgraft-watched.a
$(SIMT_TESTS) $(SIMT_TESTS:%=%-watched) $(OUT)/tests/kernelcheck-watched $(OUT)/graft-watched:
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@
.PRECIOUS: $(OBJ)/tests/simt/%.o $(OBJ)/tests/simt/%.watched.o
simt-plain-tests: $(SIMT_TESTS) $(OUT)/tests/kernelcheck
simt-tests: simt-plain-tests $(SIMT_TESTS:%=%-watched) $(OUT)/tests/kernelcheck-watched $(OUT)/graft
.PHONY: simt-tests simt-plain-tests
endif
