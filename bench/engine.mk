# Engines against PyTorch eager and onnxruntime.
.PHONY: bench-engine
$(OUT)/bench-engine: bench/engine.c $(OUT)/libgraft-all.a
	$(CC) $(CPPFLAGS) $(CFLAGS) -MF $@.d $(LDFLAGS) $< $(OUT)/libgraft-all.a $(LDLIBS) -o $@
bench-engine: $(OUT)/bench-engine
	@OUT=$(OUT) bench/engine.sh
bench: bench-engine
peers:
	@bench/peers.sh
# All networks in one table.
.PHONY: bench-backbones
bench-backbones: $(OUT)/bench-engine all
	@OUT=$(OUT) bench/backbones.sh
bench: bench-backbones
