# The engine bench: make $(OUT)/bench/engine
$(OUT)/bench/engine: bench/engine.c $(OUT)/libgraft-all.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MF $@.d $(LDFLAGS) $< $(OUT)/libgraft-all.a $(LDLIBS) -o $@
