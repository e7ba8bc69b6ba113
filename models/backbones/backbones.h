/* backbones.h: the build functions that models.def names, and their variants. */
#ifndef GRAFT_MODELS_BACKBONES_H
#define GRAFT_MODELS_BACKBONES_H

#include "models/models.h"

/* He and others 2016, "Deep residual learning"; torchvision's v1.5 form (a bottleneck strides in its
 * 3x3) unless options say otherwise. */
enum { RESNET_BASIC, RESNET_BOTTLENECK };
status resnet_build(struct net *n, edge_id x, const model_entry *entry, int64_t classes);

/* Simonyan and Zisserman 2015, "Very deep convolutional networks", table 1, D and E. */
status vgg_build(struct net *n, edge_id x, const model_entry *entry, int64_t classes);

/* Szegedy and others 2015, "Going deeper with convolutions", with batch normalisation. */
status googlenet_build(struct net *n, edge_id x, const model_entry *entry, int64_t classes);

/* Howard and others 2017, "MobileNets", table 1; ReLU6 as in its implementations. */
status mobilenet_v1_build(struct net *n, edge_id x, const model_entry *entry, int64_t classes);

/* Sandler and others 2018, "MobileNetV2: inverted residuals and linear bottlenecks", table 2. */
status mobilenet_v2_build(struct net *n, edge_id x, const model_entry *entry, int64_t classes);

/* Iandola and others 2016, "SqueezeNet", table 1, and the authors' 1.1, which pools earlier;
 * torchvision's pools (rounded up). */
enum { SQUEEZENET_1_0, SQUEEZENET_1_1 };
status squeezenet_build(struct net *n, edge_id x, const model_entry *entry, int64_t classes);

/* Redmon and Farhadi 2017, "YOLO9000", table 6, and 2018, "YOLOv3", table 1. */
status darknet19_build(struct net *n, edge_id x, const model_entry *entry, int64_t classes);
status darknet53_build(struct net *n, edge_id x, const model_entry *entry, int64_t classes);

#endif
