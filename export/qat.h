/* qat.h: quantisation-aware training: where an engine will hold integers, the training graph
 * rounds to them (op fake_quant).
 *
 *     TRY(qat_insert(&dst, &src, 0.01f));                    // before training
 *     TRY(qat_scales(&scales, &m, version));                // at export, instead of export_calibrate
 *
 * Activations: a range per tensor, a moving average of each batch's greatest magnitude (Jacob and others 2018),
 * exactly at the tensors that quantise_wanted names. Weights: a range per output channel, the greatest magnitude.
 * Folding batch normalisation multiplies an output channel by one number, which multiplies its range too: what
 * training rounds is what the engine stores.
 */
#ifndef GRAFT_EXPORT_QAT_H
#define GRAFT_EXPORT_QAT_H

#include "export/export.h"

/* dst is initialised by the call: src with a fake_quant node "NAME/fake_quant" and its state "NAME.range" behind
 * every tensor that the engine of src keeps as integers; NAME is the tensor's in the fused graph. momentum:
 * weight of a batch in the average. */
status qat_insert(graph *dst, const graph *src, float momentum);

/* The scales that training has found. s is initialised by the call. E_MODEL: a tensor without a range (the graph was
 * changed after qat_insert, or never trained). version: of the cache's first line. */
status qat_scales(export_scales *s, const model *m, int64_t version);

#endif
