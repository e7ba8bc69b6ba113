#include <math.h>
#include <string.h>

#include "core/train/checkpoint.h"
#include "core/train/trainer_parts.h"

/* ------------------------------------------------------------------------------------------------ resuming */

/* What may differ without changing what is computed; epochs is the explicit way to train longer. */
static bool may_differ(const char *key)
{
    static const char *const free_keys[] = {"train.output", "train.log_period", "train.epochs", "train.checkpoint_period",
        "train.memory_limit", "train.patience", "train.early_stopping", "train.max_bad_steps", "data.threads", "data.prefetch",
        "data.cache", "data.lint", "train.threads", "train.batch_size", NULL};
    /* The sections of other commands. */
    if (strncmp(key, "prune.", 6) == 0 || strncmp(key, "export.", 7) == 0 || strncmp(key, "infer.", 6) == 0) return true;
    for (int i = 0; free_keys[i]; i++)
        if (strcmp(key, free_keys[i]) == 0) return true;
    return false;
}

/* Next "section.key" and its value of a resolved spec; false at the end. */
typedef struct spec_cursor {
    const char *at;
    char section[64], key[160], value[4096];
} spec_cursor;

static bool next_value(spec_cursor *c)
{
    while (*c->at) {
        size_t length = strcspn(c->at, "\n");
        char line[4096];
        snprintf(line, sizeof line, "%.*s", (int)length, c->at);
        c->at += length + (c->at[length] == '\n');
        char *equals = strchr(line, '=');
        if (line[0] == '[') {
            snprintf(c->section, sizeof c->section, "%.*s", (int)strcspn(line + 1, "]"), line + 1);
        } else if (equals && line[0] != ';' && line[0] != '#') {
            *equals = 0;
            line[strcspn(line, " \t")] = 0;
            snprintf(c->key, sizeof c->key, "%s.%.90s", c->section, line);
            snprintf(c->value, sizeof c->value, "%s", equals + 1 + strspn(equals + 1, " \t"));
            return true;
        }
    }
    return false;
}

/* Value of `key` in a resolved spec; NULL if it is not there. */
static const char *find_value(const char *text, const char *key, spec_cursor *c)
{
    *c = (spec_cursor){.at = text};
    while (next_value(c))
        if (strcmp(c->key, key) == 0) return c->value;
    return NULL;
}

static status compare_specs(const trainer *t, const char *old_text)
{
    spec_cursor now = {.at = t->options->spec_text}, before;
    char list[2048] = "";
    size_t used = 0;
    while (next_value(&now)) {
        const char *old = find_value(old_text, now.key, &before);
        if (!old || strcmp(old, now.value) == 0) continue;
        if (strcmp(now.key, "train.epochs") == 0) log_info(t->log, "train.epochs: %s -> %s", old, now.value);
        if (may_differ(now.key)) continue;
        int n = snprintf(list + used, sizeof list - used, "\n    %s: was %.200s, now %.200s", now.key, old, now.value);
        used = used + (size_t)n < sizeof list ? used + (size_t)n : sizeof list - 1;
    }
    if (used == 0) return OK;
    return FAIL_LINES(E_USAGE, "%s: the checkpoint was made with another spec; resuming must not change the run:%s\n"
        "use the old values, or start a new run that takes the weights: model.pretrained=%s/last.safetensors train.output=...",
        t->folder, list, t->folder);
}

static status check_resumed(const trainer *t)
{
    const train_progress *p = &t->resumed.progress;
    TRY(compare_specs(t, t->resumed.spec_text));
    if (p->world != t->comm.world)
        return FAIL(E_USAGE, "%s: the run had %lld devices, now there are %d: resuming needs as many", t->folder, (long long)p->world,
            (int)t->comm.world);
    if (t->spec.train.batch_size != 0 && t->spec.train.batch_size != p->batch_size)
        return FAIL(E_USAGE, "train.batch_size = %lld, the run had %lld: resuming must not change the run",
            (long long)t->spec.train.batch_size, (long long)p->batch_size);
    if (t->spec.train.threads != 0 && t->spec.train.threads != p->threads)
        return FAIL(E_USAGE, "train.threads = %lld, the run had %lld: sums depend on it, so resuming must keep it",
            (long long)t->spec.train.threads, (long long)p->threads);
    if (t->model.class_count != t->train_data.class_count)
        return FAIL(E_DATA, "%s: the checkpoint knows %lld classes, the data set has %lld", t->folder,
            (long long)t->model.class_count, (long long)t->train_data.class_count);
    for (int64_t i = 0; i < t->model.class_count; i++)
        if (strcmp(t->model.class_name[i], t->train_data.class_name[i]) != 0)
            return FAIL(E_DATA, "%s: class %lld is \"%s\" in the checkpoint and \"%s\" in the data set", t->folder, (long long)i,
                t->model.class_name[i], t->train_data.class_name[i]);
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
        log_info(t->log, "resumed at step %lld of %lld", (long long)t->progress.step, (long long)t->total_steps);
    else
        log_info(t->log, "resumed at step %lld: all %lld steps of train.epochs = %lld are done; raise it to go on", (long long)t->progress.step,
            (long long)t->total_steps, (long long)t->spec.train.epochs);
    return OK;
}

/* ------------------------------------------------------------------------------------------------ saving */

static status fill_info(trainer *t)
{
    const train_progress *p = &t->progress;
    const metrics *m = &t->evaluation.metrics;
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
    json_put_number(&w, t->evaluated && p->closed ? metrics_accuracy(m) : NAN);
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
