#include "export/nvinfer.h"

#include <math.h>
#include <string.h>

#include "core/base/file.h"
#include "core/ops/op.h"

static bool is_one(const preprocess *p)
{
    for (int32_t c = 1; c < p->channels; c++)
        if (p->std[c] != p->std[0]) return false;
    return true;
}

static status scale_weights(edge *weight, const float *factor)
{
    int64_t count = shape_count(weight->shape), channels = weight->shape.dim[3];
    float *w = weight->data;
    for (int64_t i = 0; i < count; i++) w[i] *= factor[i % channels];
    return OK;
}

static status fold_into(graph *g, const node *n, bool image_is_x, const float *factor)
{
    edge *weight = n->op == &op_conv2d && image_is_x ? &g->edges[n->in[1]] : NULL;
    if (!weight || !weight->data || weight->type != DTYPE_F32 || ((const conv2d_attr *)n->attr)->groups != 1 ||
        graph_consumers(g, n->in[1]) != 1)
        return FAIL(E_MODEL,
            "nvinfer knows one scale for all channels, and %s (%s), which reads the image, cannot take the deviations "
            "into its weights; train with data.std the same for all channels",
            n->name, n->op->name);
    return scale_weights(weight, factor);
}

/* The readers of the image, each weight once; through fake quantisation, whose range grows
 * with the channel that grows most. */
static status fold(graph *g, edge_id image, const float *factor, float growth)
{
    for (node_id i = 0; i < g->node_count; i++) {
        const node *n = &g->nodes[i];
        for (int32_t k = 0; k < n->in_count; k++) {
            if (n->in[k] != image) continue;
            if (n->op != &op_fake_quant) {
                TRY(fold_into(g, n, k == 0, factor));
                continue;
            }
            *(float *)g->edges[n->in[1]].data *= growth;
            TRY(fold(g, n->out[0], factor, growth));
        }
    }
    return OK;
}

status nvinfer_one_scale(model *m)
{
    preprocess *p = &m->preprocess;
    double sum = 0;
    float factor[3];
    if (is_one(p)) return OK;
    for (int32_t c = 0; c < p->channels; c++) sum += log((double)p->std[c]);
    float common = (float)exp(sum / p->channels), growth = 0;
    for (int32_t c = 0; c < p->channels; c++) {
        factor[c] = common / p->std[c];
        growth = fmaxf(growth, 1 / factor[c]);
    }
    TRY(fold(&m->graph, m->graph.inputs[0], factor, growth));
    for (int32_t c = 0; c < 3; c++) p->std[c] = common;
    return OK;
}

status nvinfer_add_probabilities(graph *g, bool sigmoid)
{
    activation_attr attr = {.act = ACT_SIGMOID};
    return graph_add(g, sigmoid ? &op_activation : &op_softmax, "probabilities", sigmoid ? &attr : NULL, &g->outputs[0],
        1, -1, &g->outputs[0]);
}

static status put_lines(file_writer *w, const nvinfer_config *c)
{
    const preprocess *p = c->preprocess;
    TRY(file_writer_printf(w,
        "# DeepStream nvinfer: y = net-scale-factor * (x - "
        "offsets)\n[property]\ngpu-id=0\nnet-scale-factor=%.9g\noffsets=",
        1 / (double)p->std[0]));
    for (int32_t k = 0; k < p->channels; k++) TRY(file_writer_printf(w, "%s%.9g", k ? ";" : "", (double)p->mean[k]));
    TRY(file_writer_printf(w, "\nmodel-color-format=%d\n", p->channels == 1 ? 2 : p->bgr ? 1 : 0));
    TRY(file_writer_printf(w, "onnx-file=%s\nlabelfile-path=%s\n", c->onnx_file, c->labels_file));
    if (c->integer) TRY(file_writer_printf(w, "int8-calib-file=%s\n", c->cache_file));
    TRY(file_writer_printf(w, "infer-dims=%d;%d;%d\nbatch-size=1\nnetwork-mode=%d\nnetwork-type=1\n", p->channels,
        p->height, p->width, c->integer ? 1 : 0));
    TRY(file_writer_printf(w,
        "process-mode=1\ngie-unique-id=1\ninterval=0\noutput-blob-names=%s\nclassifier-threshold=0\n", c->output_name));
    if (p->resize == RESIZE_LETTERBOX) return file_writer_printf(w, "maintain-aspect-ratio=1\nsymmetric-padding=1\n");
    TRY(file_writer_printf(w, "maintain-aspect-ratio=0\n"));
    if (p->resize == RESIZE_STRETCH) return OK;
    return file_writer_printf(w,
        "# The network was trained on centre crops (%g of the shorter side). nvinfer stretches whole frames to the "
        "network's size:\n# crop in front of it, or train with data.resize = stretch.\n",
        (double)p->crop_fraction);
}

status nvinfer_write_config(const nvinfer_config *c, const char *path)
{
    file_writer w = {0};
    status result = OK;
    if (!is_one(c->preprocess)) return FAIL(E_USAGE, "%s: nvinfer knows one scale for all channels", path);
    TRY(file_writer_open(&w, path));
    TRY_OUT(put_lines(&w, c));
    TRY_OUT(file_writer_commit(&w));
out:
    file_writer_abort(&w);
    return result;
}

status labels_write(const char *path, const char *const *names, int64_t count, char separator)
{
    file_writer w = {0};
    status result = OK;
    TRY(file_writer_open(&w, path));
    for (int64_t i = 0; i < count; i++) {
        if (strpbrk(names[i], "\r\n") || strchr(names[i], separator))
            TRY_OUT(FAIL(E_USAGE, "%s: class \"%s\" holds a line break or '%c', which separates names there", path,
                names[i], separator));
        if (i && separator != '\n') TRY_OUT(file_writer_printf(&w, "%c", separator));
        TRY_OUT(file_writer_printf(&w, separator == '\n' ? "%s\n" : "%s", names[i]));
    }
    if (separator != '\n') TRY_OUT(file_writer_printf(&w, "\n"));
    TRY_OUT(file_writer_commit(&w));
out:
    file_writer_abort(&w);
    return result;
}
