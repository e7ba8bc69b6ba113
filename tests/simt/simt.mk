# Programs that test kernels/simt itself, in builds with SIMT=1.
ifeq ($(SIMT),1)
SIMT_TESTS := faults
$(SIMT_TESTS:%=$(OUT)/tests/simt_%): $(OUT)/tests/simt_%: $(OBJ)/tests/simt/%.o $(OUT)/libgraft-all.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@
simt-tests: $(SIMT_TESTS:%=$(OUT)/tests/simt_%) $(OUT)/tests/kernelcheck
.PHONY: simt-tests
endif
