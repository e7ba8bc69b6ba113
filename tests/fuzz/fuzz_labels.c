/* Label files of KITTI (first byte even) and VOC (odd), and what is made of their boxes: judged, clipped, moved. */
#include <stdlib.h>
#include <string.h>

#include "core/data/boxes.h"
#include "core/data/readers/box_labels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_box(label_box b)
{
    static const float m[9] = {0.8f, 0.6f, 0, -0.6f, 0.8f, 0, 10, -20, 1};
    if (box_clip(&b, 640, 480) >= BOX_OUTSIDE) return;
    moved_box to = box_move(&b, NULL, m, 320, 240, 0.3f);
    if (to.class_index == BOX_NONE) return;
    bool fits = to.x0 >= 0 && to.y0 >= 0 && to.x1 <= 320 && to.y1 <= 240 && to.x1 - to.x0 >= 1 && to.y1 - to.y0 >= 1;
    if (!fits || !(to.visible >= 0 && to.visible <= 1)) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    arena memory = {0};
    box_list list = {.memory = &memory};
    char *text = malloc(size);
    if (!text) abort();
    memcpy(text, data + 1, size - 1);
    text[size - 1] = 0;
    if (data[0] & 1) (void)voc_parse(&list, text, size - 1, "fuzz");
    else (void)kitti_parse(&list, text, "fuzz");
    for (int64_t i = 0; i < list.count; i++) {
        if (list.box[i].line < 1 || (!list.class_name[i] && !list.box[i].ignore)) __builtin_trap();
        check_box(list.box[i]);
    }
    free(text);
    box_list_free(&list);
    arena_free(&memory);
    return 0;
}
