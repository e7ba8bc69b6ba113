/* graph_dot.h: a graph as Graphviz's dot draws it. A box is a layer: a node and what alone follows it and
 * keeps its shape (batch normalisation, activation, flattening); edges carry shapes [h x w x c]. Boxes
 * with integer arithmetic are green.
 *
 *     TRY(graph_write_dot(&g, "resnet18", "resnet18.dot"));     // then: dot -Tsvg resnet18.dot -o resnet18.svg
 */
#ifndef GRAFT_GRAPH_GRAPH_DOT_H
#define GRAFT_GRAPH_GRAPH_DOT_H

#include "core/graph/graph.h"

status graph_write_dot(const graph *g, const char *title, const char *path); /* atomic */

#endif
