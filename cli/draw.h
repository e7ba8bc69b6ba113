/* draw.h: a graph as a picture, by Graphviz.
 *
 *     TRY(draw_graph(&g, "resnet18", "resnet18.svg"));
 */
#ifndef GRAFT_CLI_DRAW_H
#define GRAFT_CLI_DRAW_H

#include "core/graph/graph.h"

/* The ending says what is written: .dot needs nothing; .svg, .png and .pdf need Graphviz's `dot` on the PATH. E_USAGE:
 * another ending, or no `dot`; E_IO: `dot` failed. */
status draw_graph(const graph *g, const char *title, const char *path);

#endif
