#include "models/import/names.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const name_rule mobilenet_v2_rules[] = {
    {"conv_stem.", "features.0.0."}, {"bn1.", "features.0.1."},
    {"blocks.0.0.conv_dw.", "features.1.conv.0.0."}, {"blocks.0.0.bn1.", "features.1.conv.0.1."},
    {"blocks.0.0.conv_pw.", "features.1.conv.1."}, {"blocks.0.0.bn2.", "features.1.conv.2."},
    {"blocks.#.#.conv_pw.", "features.$n.conv.0.0."}, {"blocks.#.#.bn1.", "features.$n.conv.0.1."},
    {"blocks.#.#.conv_dw.", "features.$n.conv.1.0."}, {"blocks.#.#.bn2.", "features.$n.conv.1.1."},
    {"blocks.#.#.conv_pwl.", "features.$n.conv.2."}, {"blocks.#.#.bn3.", "features.$n.conv.3."},
    {"conv_head.", "features.18.0."}, {"bn2.", "features.18.1."}, {"classifier.", "classifier.1."}, {0}};
static const int32_t mobilenet_v2_stages[] = {1, 2, 3, 4, 3, 3, 1, 0};

static const name_rule vgg_rules[] = {{"pre_logits.fc1.", "classifier.0."}, {"pre_logits.fc2.", "classifier.3."},
    {"head.fc.", "classifier.6."}, {0}};

/* Many CIFAR ResNets call the last layer so. */
static const name_rule linear_rules[] = {{"linear.", "fc."}, {0}};

const name_map name_maps[] = {
    {"", NULL, NULL, 0},
    {"timm's mobilenetv2", mobilenet_v2_rules, mobilenet_v2_stages, 1},
    {"timm's vgg", vgg_rules, NULL, 0},
    {"a last layer called linear", linear_rules, NULL, 0},
    {0}};

/* Does the name begin with the pattern? rest: behind it. */
static bool fits(const char *pattern, const char *name, int64_t number[2], const char **rest)
{
    int32_t numbers = 0;
    for (; *pattern; pattern++) {
        if (*pattern != '#') {
            if (*pattern != *name++) return false;
            continue;
        }
        char *end;
        if (*name < '0' || *name > '9') return false;
        number[numbers++] = strtol(name, &end, 10);
        if (end - name > 6) return false;
        name = end;
    }
    *rest = name;
    return true;
}

static int64_t flat_index(const name_map *m, const int64_t number[2])
{
    int64_t index = m->first + number[1];
    for (int64_t s = 0; s < number[0] && m->stages[s]; s++) index += m->stages[s];
    return index;
}

static status rewrite(
    const name_map *m, arena *a, const char *to, const int64_t number[2], const char *rest, const char **mapped)
{
    char text[256];
    size_t used = 0;
    for (; *to && used + 24 < sizeof text; to++) {
        if (*to != '$') {
            text[used++] = *to;
            continue;
        }
        char which = *++to;
        int64_t value = which == 'n' ? flat_index(m, number) : number[which - '1'];
        used += (size_t)snprintf(text + used, sizeof text - used, "%" PRId64, value);
    }
    text[used] = 0;
    *mapped = arena_printf(a, "%s%s", text, rest);
    return *mapped ? OK : FAIL_MEMORY(sizeof text);
}

status names_map(const name_map *m, arena *a, const char *name, const char **mapped)
{
    *mapped = name;
    for (const name_rule *r = m->rules; r && r->from; r++) {
        int64_t number[2] = {0, 0};
        const char *rest;
        if (fits(r->from, name, number, &rest)) return rewrite(m, a, r->to, number, rest, mapped);
    }
    return OK;
}
