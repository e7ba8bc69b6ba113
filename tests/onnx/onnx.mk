ONNX_TESTS := $(OUT)/tests-onnx/node_cases $(OUT)/tests-onnx/network_run
$(ONNX_TESTS): $(OUT)/tests-onnx/%: tests/onnx/%.c $(OUT)/libgraft-all.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MF $@.d $(LDFLAGS) $< $(OUT)/libgraft-all.a $(LDLIBS) -o $@
TEST_PREREQS += $(ONNX_TESTS)
