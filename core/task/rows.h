/* rows.h: the rows of a last layer's weight and bias, which stand for classes.
 *
 *     TRY(rows_resize(&g, weight, 7));
 *     TRY(rows_order(&g, bias, (const int64_t[]){1, 0}));
 */
#ifndef GRAFT_TASK_ROWS_H
#define GRAFT_TASK_ROWS_H

#include "core/graph/graph.h"

/* The parameter gets so many rows, all zeros. The shapes behind it are the caller's to
 * infer again. E_MODEL: too large. */
status rows_resize(graph *g, edge_id e, int64_t rows);

/* Row i of the parameter becomes what was row place[i]. */
status rows_order(graph *g, edge_id e, const int64_t *place);

#endif
