#include "core/task/probability.h"

#include <math.h>

static void softmax(float *row, int64_t classes)
{
    double top = row[0], sum = 0;
    for (int64_t c = 1; c < classes; c++) top = fmax(top, row[c]);
    for (int64_t c = 0; c < classes; c++) sum += exp(row[c] - top);
    for (int64_t c = 0; c < classes; c++) row[c] = (float)(exp(row[c] - top) / sum);
}

void scores_to_probabilities(float *scores, int64_t n, int64_t classes, bool sigmoid)
{
    for (int64_t i = 0; i < n; i++) {
        float *row = scores + i * classes;
        if (!sigmoid) softmax(row, classes);
        for (int64_t c = 0; sigmoid && c < classes; c++) row[c] = (float)(1 / (1 + exp(-(double)row[c])));
    }
}
