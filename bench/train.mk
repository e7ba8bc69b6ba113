# Training steps against PyTorch.
.PHONY: bench-train
$(OUT)/bench-train: bench/train.c $(PROGRAM_LIB)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MF $@.d $(LDFLAGS) $< $(PROGRAM_LIB) $(LDLIBS) -o $@
bench-train: $(OUT)/bench-train
	@OUT=$(OUT) bench/train.sh
bench: bench-train
