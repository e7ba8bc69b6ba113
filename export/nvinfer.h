/* nvinfer.h: a network as DeepStream's nvinfer plug-in takes it: ONNX, a configuration file, a file of labels and,
 * for INT8, a calibration cache.
 *
 * nvinfer computes y = net-scale-factor * (x - offsets[c]) with one factor for all channels. A deviation per channel
 * goes into the weights that read the image: with s one deviation for all,
 *
 *     (x - mean[c]) / std[c] = (s / std[c]) * (x - mean[c]) / s
 *     weight'[o, y, x, c] = weight[o, y, x, c] * s / std[c]
 *
 * s is the geometric mean of std, so that the weights keep their size. Zeros of padding stay zeros. The mean is not
 * folded: as a bias it would be wrong where the border is padded. A range from quantisation-aware training is widened
 * by the greatest std[c] / s: nothing is cut off that was not before, and with the usual deviations the image's steps
 * are 3 % wider than in training.
 *
 *     TRY(nvinfer_one_scale(&m));                       // before anything is calibrated
 *     TRY(nvinfer_write_config(&config, "model.txt"));
 */
#ifndef GRAFT_EXPORT_NVINFER_H
#define GRAFT_EXPORT_NVINFER_H

#include "core/graph/model.h"

/* Gives m one deviation for all channels. E_MODEL: the image is read by something else than a float
 * convolution over all its channels. */
status nvinfer_one_scale(model *m);

/* Output 0 of a float graph becomes probabilities, which nvinfer's classifier compares with its threshold. */
status nvinfer_add_probabilities(graph *g, bool sigmoid);

typedef struct nvinfer_config {
    const preprocess *preprocess; /* one deviation for all channels      */
    const char *onnx_file, *labels_file, *cache_file; /* relative to the config; cache_file "" without INT8 */
    const char *output_name;      /* the ONNX tensor with the probabilities */
    bool integer;                 /* network-mode 1, else 0 (FP32)       */
} nvinfer_config;
/* Atomic. E_USAGE: deviations that differ. */
status nvinfer_write_config(const nvinfer_config *c, const char *path);

/* One line, names separated by ';' (nvinfer) or one name a line. E_USAGE: a name that holds the separator. */
status labels_write(const char *path, const char *const *names, int64_t count, char separator);

#endif
