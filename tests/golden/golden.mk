$(OUT)/tests-golden/golden_run: tests/golden/golden_run.c $(OUT)/libgraft-all.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MF $@.d $(LDFLAGS) $< $(OUT)/libgraft-all.a $(LDLIBS) -o $@
TEST_PREREQS += $(OUT)/tests-golden/golden_run
$(OUT)/tests-golden/kernel_run: tests/golden/kernel_run.c $(OUT)/libgraft-all.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MF $@.d $(LDFLAGS) $< $(OUT)/libgraft-all.a $(LDLIBS) -o $@
TEST_PREREQS += $(OUT)/tests-golden/kernel_run
