# Images per second of the data path against a PyTorch DataLoader.
.PHONY: bench-data
$(OUT)/bench-data: bench/data.c $(OUT)/libgraft-all.a
	$(CC) $(CPPFLAGS) $(CFLAGS) -MF $@.d $(LDFLAGS) $< $(OUT)/libgraft-all.a $(LDLIBS) -o $@
bench-data: $(OUT)/bench-data
	@OUT=$(OUT) bench/data.sh
bench: bench-data
