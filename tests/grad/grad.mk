# Whole-graph gradient checks: $(OUT)/tests/test_grad, run by tests/run.sh like the unit tests.
CHECK_PREREQS += $(OUT)/tests/test_grad
$(OUT)/tests/test_grad: tests/grad/test_grad.c tests/unit/graph_fixture.h $(OUT)/libgraft-all.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MF $@.d $(LDFLAGS) $< $(OUT)/libgraft-all.a $(LDLIBS) -lcmocka -o $@
