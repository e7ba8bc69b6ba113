# Our convolutions beside cuDNN's (bench/peer_cudnn.cu): needs CUDA=1, the toolkit's cuDNN and, to run, a GPU.
ifeq ($(CUDA),1)
.PHONY: bench-cudnn
$(OUT)/peer_cudnn: bench/peer_cudnn.cu $(OUT)/libgraft-all.a
	$(NVCC) -std=c++20 -O2 -I. -fmad=false $(foreach a,$(CUDA_ARCHS),-gencode=arch=compute_$(a),code=sm_$(a)) $^ $(LDLIBS) \
	    -Xcompiler -fopenmp -lcudnn -o $@
bench-cudnn: $(OUT)/peer_cudnn
	$(OUT)/peer_cudnn bench/shapes/resnet50-bf16.txt
endif
