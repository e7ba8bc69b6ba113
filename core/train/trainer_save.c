#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/config/config.h"
#include "core/train/checkpoint.h"
#include "core/train/trainer_parts.h"

/* ------------------------------------------------------------------------------------------------ resuming */

/* An option's value in a checkpoint's spec, also one that this version does not take; NULL if the
 * spec does not name the option. */
static status old_value(const config *old, arena *a, const option *o, const char **value)
{
    *value = NULL;
    if (config_is_set(old, o->section, o->key)) {
        *value = config_value_text(old, a, o);
        return *value ? OK : FAIL_MEMORY(1);
    }
    for (int64_t i = 0; i < old->error_count; i++) {
        const config_error *e = &old->errors[i];
        if (e->section && e->key && strcmp(e->section, o->section) == 0 && strcmp(e->key, o->key) == 0)
            *value = e->value;
    }
    return OK;
}

/* What the checkpoint's spec says otherwise, a line each in `list`; what only one of the two knows is no difference. */
static status list_changes(const trainer *t, const config *old, const config *now, char *list, size_t bytes)
{
    arena a = {0};
    status result = OK;
    size_t used = 0;
    list[0] = 0;
    for (int32_t i = 0; i < option_count; i++) {
        const option *o = &option_table[i];
        const char *was, *is = config_value_text(now, &a, o);
        if (!is) TRY_OUT(FAIL_MEMORY(1));
        TRY_OUT(old_value(old, &a, o, &was));
        if (!was || !config_is_set(now, o->section, o->key) || strcmp(was, is) == 0) continue;
        if (strcmp(o->section, "train") == 0 && strcmp(o->key, "epochs") == 0)
            log_info(t->log, "train.epochs: %s -> %s", was, is);
        if (option_may_differ(o)) continue;
        int n = snprintf(list + used, bytes - used, "\n    %s.%s: was %.200s, now %.200s", o->section, o->key, was, is);
        used = used + (size_t)n < bytes ? used + (size_t)n : bytes - 1;
    }
out:
    arena_free(&a);
    return result;
}

/* The old spec may name options that are no more: it is read without being finished, which would refuse them. */
static status compare_specs(const trainer *t, const char *old_text)
{
    config old = {0}, now = {0};
    char list[2048] = "";
    status result = OK;
    TRY_OUT(config_init(&old));
    TRY_OUT(config_init(&now));
    TRY_OUT(config_read_text(&old, old_text, strlen(old_text), t->folder));
    TRY_OUT(config_read_text(&now, t->options->spec_text, strlen(t->options->spec_text), "this run"));
    TRY_OUT(list_changes(t, &old, &now, list, sizeof list));
    if (list[0])
        result = FAIL_LINES(E_USAGE,
            "%s: the checkpoint was made with another spec; resuming must not change the run:%s\n"
            "use the old values, or start a new run that takes the weights: model.pretrained=%s/last.safetensors "
            "train.output=...",
            t->folder, list, t->folder);
out:
    config_free(&old);
    config_free(&now);
    return result;
}

static status check_resumed(const trainer *t)
{
    const train_progress *p = &t->resumed.progress;
    TRY(compare_specs(t, t->resumed.spec_text));
    if (p->world != t->comm.world)
        return FAIL(E_USAGE, "%s: the run had %" PRId64 " devices, now there are %d: resuming needs as many", t->folder,
            p->world, (int)t->comm.world);
    if (t->spec.train.batch_size != 0 && t->spec.train.batch_size != p->batch_size)
        return FAIL(E_USAGE,
            "train.batch_size = %" PRId64 ", the run had %" PRId64 ": resuming must not change the run",
            t->spec.train.batch_size, p->batch_size);
    if (t->spec.train.threads != 0 && t->spec.train.threads != p->threads)
        return FAIL(E_USAGE,
            "train.threads = %" PRId64 ", the run had %" PRId64 ": sums depend on it, so resuming must keep it",
            t->spec.train.threads, p->threads);
    if (t->model.class_count != t->train_data.class_count)
        return FAIL(E_DATA, "%s: the checkpoint knows %" PRId64 " classes, the data set has %" PRId64, t->folder,
            t->model.class_count, t->train_data.class_count);
    for (int64_t i = 0; i < t->model.class_count; i++)
        if (strcmp(t->model.class_name[i], t->train_data.class_name[i]) != 0)
            return FAIL(E_DATA, "%s: class %" PRId64 " is \"%s\" in the checkpoint and \"%s\" in the data set",
                t->folder, i, t->model.class_name[i], t->train_data.class_name[i]);
    return OK;
}

status trainer_open_checkpoint(trainer *t)
{
    TRY(checkpoint_open(t->folder, &t->model, &t->resumed, t->log));
    TRY(check_resumed(t));
    t->resuming = true;
    t->progress = t->resumed.progress;
    return OK;
}

status trainer_restore(trainer *t)
{
    if (t->resumed.layout != optimiser_layout(t->store))
        return FAIL(E_MODEL, "%s: the state file belongs to another network", t->folder);
    TRY(optimiser_upload(&t->optimiser, &t->resumed));
    int64_t next = t->progress.step * t->spec.train.accumulate;
    TRY(loader_seek(t->loader, next / t->batches_per_epoch, next % t->batches_per_epoch));
    if (t->progress.step < t->total_steps)
        log_info(t->log, "resumed at step %" PRId64 " of %" PRId64, t->progress.step, t->total_steps);
    else
        log_info(t->log,
            "resumed at step %" PRId64 ": all %" PRId64 " steps of train.epochs = %" PRId64
            " are done; raise it to go on",
            t->progress.step, t->total_steps, t->spec.train.epochs);
    return OK;
}

/* ------------------------------------------------------------------------------------------------ saving */

static status fill_info(trainer *t)
{
    const train_progress *p = &t->progress;
    json_writer w = {0};
    const char *text;
    size_t bytes;
    json_begin_object(&w);
    json_key(&w, "step");
    json_put_int(&w, p->step);
    json_key(&w, "epochs");
    json_put_number(&w, (double)(p->step * t->spec.train.accumulate) / (double)t->batches_per_epoch);
    json_key(&w, "ema_decay");
    json_put_number(&w, t->spec.train.ema_decay);
    json_key(&w, "val_accuracy");
    json_put_number(&w, t->evaluated && p->closed ? t->evaluation.value[0] : NAN);
    json_end_object(&w);
    status result = json_writer_finish(&w, &text, &bytes);
    if (result == OK) snprintf(t->info, sizeof t->info, "%s", text);
    json_writer_free(&w);
    t->model.info_json = t->info;
    t->model.spec_text = t->options->spec_text;
    return result;
}

static status write_checkpoint(trainer *t)
{
    const char *const *train_names = NULL, *const *eval_names = NULL;
    const char *update_names[3];
    train_state s = {.progress = t->progress, .layout = optimiser_layout(t->store), .spec_text = t->options->spec_text,
        .block_count = t->block_count};
    memcpy(s.block, t->blocks, sizeof s.block);
    int64_t train_count = plan_variants(t->plan, &train_names);
    s.list[s.list_count++] = (state_list){"train", train_names, train_count};
    if (t->eval_plan) {
        int64_t eval_count = plan_variants(t->eval_plan, &eval_names);
        s.list[s.list_count++] = (state_list){"eval", eval_names, eval_count};
    }
    s.list[s.list_count++] = (state_list){"optimiser", update_names, optimiser_variants(&t->optimiser, update_names)};
    TRY(fill_info(t));
    TRY(checkpoint_save(t->folder, &t->model, &s));
    hash128_hex(s.model_hash, t->summary->model_hash);
    return OK;
}

status trainer_save(trainer *t)
{
    TRY(optimiser_download(&t->optimiser, t->blocks, t->block_count));
    TRY(optimiser_swap_ema(&t->optimiser)); /* the model file holds what is evaluated */
    status result = param_store_download(t->store, &t->model.graph);
    TRY(optimiser_swap_ema(&t->optimiser));
    TRY(result);
    if (t->comm.rank == 0) TRY(write_checkpoint(t));
    t->saved_step = t->progress.step;
    return comm_barrier(&t->comm);
}
