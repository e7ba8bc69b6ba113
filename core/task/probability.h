/* probability.h: from scores to probabilities, for whoever has scores on the host. */
#ifndef GRAFT_TASK_PROBABILITY_H
#define GRAFT_TASK_PROBABILITY_H

#include <stdbool.h>
#include <stdint.h>

/* scores [n, classes] in place: softmax of each row, or sigmoid of each score. */
void scores_to_probabilities(float *scores, int64_t n, int64_t classes, bool sigmoid);

#endif
