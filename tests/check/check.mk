# kernelcheck: every kernel variant against the reference (tests/check/check.h), and its timer.
KERNELCHECK_SRC := $(wildcard tests/check/*.c tests/kernels/*.c)
KERNELCHECK_OBJ := $(KERNELCHECK_SRC:%.c=$(OBJ)/%.o)
$(OUT)/tests/kernelcheck: $(KERNELCHECK_OBJ) $(PROGRAM_LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@
CHECK_PREREQS += $(OUT)/tests/kernelcheck
TEST_PREREQS += $(OUT)/tests/kernelcheck
