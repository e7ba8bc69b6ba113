# kernelcheck: every kernel variant against the reference (tests/check/check.h), and its timer.
KERNELCHECK_SRC := $(wildcard tests/check/*.c tests/kernels/*.c)
KERNELCHECK_OBJ := $(KERNELCHECK_SRC:%.c=$(OBJ)/%.o)
$(OUT)/tests/kernelcheck: $(KERNELCHECK_OBJ) $(PROGRAM_LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@
# A file of tests/kernels is a family: the folder's time changes when one comes or goes.
$(GEN)/families.def: tests/kernels tests/check/check.mk
	@mkdir -p $(@D)
	@printf 'FAMILY(%s)\n' $(basename $(notdir $(wildcard tests/kernels/*.c))) >$@
$(OBJ)/tests/check/main.o: CPPFLAGS += -I$(GEN)
$(OBJ)/tests/check/main.o: $(GEN)/families.def
CHECK_PREREQS += $(OUT)/tests/kernelcheck
TEST_PREREQS += $(OUT)/tests/kernelcheck
