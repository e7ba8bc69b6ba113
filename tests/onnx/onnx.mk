$(OUT)/tests-onnx/node_cases: tests/onnx/node_cases.c $(OUT)/libgraft-all.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MF $@.d $(LDFLAGS) $< $(OUT)/libgraft-all.a $(LDLIBS) -o $@
TEST_PREREQS += $(OUT)/tests-onnx/node_cases
