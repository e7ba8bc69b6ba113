#include "core/task/classify/classify.h"

const task task_classification = {
    .name = "classification",
    .running_values = true,
    .watched = 1, /* the loss */
    .check_data = classify_check_data,
    .labels = classify_labels,
    .add_loss = classify_add_loss,
    .fresh_head = classify_fresh_head,
    .is_head = classify_is_head,
    .order_head = classify_order_head,
    .fit_head = classify_fit_head,
    .check = classify_check,
    .predict = classify_predict,
    .figures = classify_figures,
    .score_create = classify_score_create,
    .score_destroy = classify_score_destroy,
    .score_reset = classify_score_reset,
    .score_add = classify_score_add,
    .score_merge = classify_score_merge,
    .score_values = classify_score_values,
    .score_print = classify_score_print,
    .score_write = classify_score_write,
    .score_page = classify_score_page,
};
