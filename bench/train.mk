# Training steps against PyTorch.
.PHONY: bench-train
$(OUT)/bench-train: bench/train.c $(OUT)/libgraft-all.a
	$(CC) $(CPPFLAGS) $(CFLAGS) -MF $@.d $(LDFLAGS) $< $(OUT)/libgraft-all.a $(LDLIBS) -o $@
bench-train: $(OUT)/bench-train
	@OUT=$(OUT) bench/train.sh
bench: bench-train
