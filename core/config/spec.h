/* spec.h: a spec file as C structs, generated from spec.def: spec.train.batch_size is [train] batch_size.
 *
 * Strings and lists live in the arena of the config that filled the spec (config.h).
 */
#ifndef GRAFT_CONFIG_SPEC_H
#define GRAFT_CONFIG_SPEC_H

#include <stdbool.h>
#include <stdint.h>

typedef struct float_list {
    double *value;
    int64_t count;
} float_list;

typedef struct text_list {
    const char **value;
    int64_t count;
} text_list;

/* Values of the enum options, in the order of their choices in spec.def. */
typedef enum spec_head { HEAD_NONE, HEAD_SSD, HEAD_DSSD, HEAD_RETINANET } spec_head;
typedef enum spec_retinanet_form { RETINANET_TOOLKIT, RETINANET_TORCHVISION } spec_retinanet_form;
typedef enum spec_average_precision { AVERAGE_PRECISION_INTEGRATE, AVERAGE_PRECISION_SAMPLE } spec_average_precision;
typedef enum spec_criterion { CRITERION_VOC, CRITERION_COCO } spec_criterion;
typedef enum spec_stem { STEM_IMAGENET, STEM_SMALL } spec_stem;
typedef enum spec_bottleneck_stride { BOTTLENECK_STRIDE_3X3, BOTTLENECK_STRIDE_1X1 } spec_bottleneck_stride;
typedef enum spec_padding { PADDING_TORCH, PADDING_SAME } spec_padding;
typedef enum spec_data_format {
    FORMAT_AUTO,
    FORMAT_FOLDER,
    FORMAT_IDX,
    FORMAT_CIFAR,
    FORMAT_CSV,
    FORMAT_PACKED,
    FORMAT_KITTI,
    FORMAT_VOC,
    FORMAT_COCO,
    FORMAT_YOLO
} spec_data_format;
typedef enum spec_preprocess { PREPROCESS_TORCH, PREPROCESS_CAFFE, PREPROCESS_TF, PREPROCESS_CUSTOM } spec_preprocess;
typedef enum spec_interpolation {
    INTERPOLATION_BILINEAR, INTERPOLATION_BICUBIC, INTERPOLATION_NEAREST, INTERPOLATION_LINEAR
} spec_interpolation;
typedef enum spec_resize { RESIZE_CROP, RESIZE_STRETCH, RESIZE_LETTERBOX } spec_resize;
typedef enum spec_exif { EXIF_APPLY, EXIF_IGNORE, EXIF_ERROR } spec_exif;
typedef enum spec_sampling { SAMPLING_SHUFFLE, SAMPLING_WEIGHTED, SAMPLING_BALANCED } spec_sampling;
typedef enum spec_device { SPEC_DEVICE_AUTO, SPEC_DEVICE_CPU, SPEC_DEVICE_CUDA } spec_device;
typedef enum spec_normalise_on_read {
    NORMALISE_ON_READ_AUTO,
    NORMALISE_ON_READ_ALWAYS,
    NORMALISE_ON_READ_NEVER
} spec_normalise_on_read;
typedef enum spec_precision { PRECISION_F32, PRECISION_TF32, PRECISION_BF16, PRECISION_F16 } spec_precision;
typedef enum spec_loss { LOSS_SOFTMAX, LOSS_SIGMOID } spec_loss;
typedef enum spec_regularizer { REGULARIZER_NONE, REGULARIZER_L1, REGULARIZER_L2 } spec_regularizer;
typedef enum spec_transfer_mode { TRANSFER_AUTO, TRANSFER_TRUE, TRANSFER_FALSE } spec_transfer_mode;
typedef enum spec_probe_scale { PROBE_SCALE_COMMON, PROBE_SCALE_EACH } spec_probe_scale;
typedef enum spec_optimizer_type { OPTIMIZER_SGD, OPTIMIZER_ADAM, OPTIMIZER_ADAMW, OPTIMIZER_RMSPROP }
    spec_optimizer_type;
typedef enum spec_schedule_type {
    SCHEDULE_CONSTANT, SCHEDULE_STEP, SCHEDULE_MULTISTEP, SCHEDULE_COSINE, SCHEDULE_POLYNOMIAL, SCHEDULE_SOFT_START,
    SCHEDULE_SOFT_ANNEAL
} spec_schedule_type;
typedef enum spec_prune_score { PRUNE_SCORE_L2, PRUNE_SCORE_L1, PRUNE_SCORE_OBS, PRUNE_SCORE_AUTO } spec_prune_score;
typedef enum spec_prune_reconstruct {
    PRUNE_RECONSTRUCT_AUTO,
    PRUNE_RECONSTRUCT_TRUE,
    PRUNE_RECONSTRUCT_FALSE
} spec_prune_reconstruct;
typedef enum spec_prune_normalizer { PRUNE_NORMALIZER_MAX, PRUNE_NORMALIZER_L2, PRUNE_NORMALIZER_OFF }
    spec_prune_normalizer;
typedef enum spec_prune_equalization {
    PRUNE_UNION, PRUNE_INTERSECTION, PRUNE_ARITHMETIC_MEAN, PRUNE_GEOMETRIC_MEAN
} spec_prune_equalization;
typedef enum spec_engine_precision { ENGINE_F32, ENGINE_F16, ENGINE_INT8 } spec_engine_precision;
typedef enum spec_export_format {
    FORMAT_ENGINE,
    FORMAT_ONNX,
    FORMAT_SAFETENSORS,
    FORMAT_DARKNET,
    FORMAT_LABELS,
    FORMAT_NVINFER,
    FORMAT_TRTCACHE,
    FORMAT_NCNN
} spec_export_format;
typedef enum spec_calibrator {
    CALIBRATOR_ENTROPY, CALIBRATOR_MINMAX, CALIBRATOR_PERCENTILE, CALIBRATOR_MSE, CALIBRATOR_AUTO
} spec_calibrator;

#define SECTION_BEGIN(name, help, ...) typedef struct spec_##name {
#define SECTION_END(name) } spec_##name;
#define OPT_INT(section, key, min, max, def, help, ...) int64_t key;
#define OPT_AUTO(section, key, max, def, help, ...) int64_t key;
#define OPT_FLOAT(section, key, min, max, def, help, ...) double key;
#define OPT_BOOL(section, key, def, help, ...) bool key;
#define OPT_TEXT(section, key, def, help, ...) const char *key;
#define OPT_PATH(section, key, def, help, ...) const char *key;
#define OPT_ENUM(section, key, type, choices, def, help, ...) type key;
#define OPT_FLOATS(section, key, min, max, def, help, ...) float_list key;
#define OPT_TEXTS(section, key, def, help, ...) text_list key;
#include "core/config/spec.def"

typedef struct spec {
    spec_model model;
    spec_detect detect;
    spec_ssd ssd;
    spec_dssd dssd;
    spec_retinanet retinanet;
    spec_data data;
    spec_augment augment;
    spec_train train;
    spec_evaluate evaluate;
    spec_transfer transfer;
    spec_optimizer optimizer;
    spec_schedule schedule;
    spec_qat qat;
    spec_prune prune;
    spec_export export;
    spec_infer infer;
} spec;

/* The texts of enum options, as spec.def has them: files that hold a choice spell it the same way.
 * section.key must be an enum option.
 *
 *     const char *word = option_choice("data", "resize", RESIZE_CROP); // "crop"
 */
const char *option_choice(const char *section, const char *key, int value); /* value: one of the enumeration */
const char *const *option_choices(const char *section, const char *key);    /* all, in its order; NULL-terminated */
/* The value that a text stands for; false, and *value as it was, if it is no choice. */
bool option_choice_find(const char *section, const char *key, const char *text, int *value);

#endif
