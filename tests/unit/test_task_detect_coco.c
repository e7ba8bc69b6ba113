/* COCO's figures against pycocotools': tests/golden/coco_average.txt, whose script says how it was made. */
#include "tests/unit/unit_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/task/detect/coco_average.h"

enum { MOST = 1000 };

/* In the order of the file. */
typedef struct line {
    int image, kind;
    double box[4];
    double area, score;
    int crowd;
} line;

typedef struct test_case {
    int classes, images;
    line object[MOST], detection[MOST];
    int objects, detections;
} test_case;

static int best_first(const void *a, const void *b)
{
    const line *const *x = a, *const *y = b;
    if ((*x)->score > (*y)->score || (*x)->score < (*y)->score) return (*x)->score > (*y)->score ? -1 : 1;
    return *x < *y ? -1 : *x > *y;
}

/* The class's detections in one image, best first, matched and appended. */
static int64_t match_image(const test_case *c, int image, int kind, coco_detection *d, int64_t objects[COCO_AREAS])
{
    const line *found[MOST];
    coco_object object[MOST];
    coco_box box[MOST];
    coco_match match[MOST];
    int count = 0, object_count = 0;
    for (int i = 0; i < c->objects; i++) {
        const line *l = &c->object[i];
        if (l->image != image || l->kind != kind) continue;
        object[object_count++] = (coco_object){
            {l->box[0], l->box[1], l->box[2], l->box[3]}, .area = l->area, .ignored = l->crowd, .crowd = l->crowd};
        for (int a = 0; a < COCO_AREAS && !l->crowd; a++) objects[a] += coco_areas(l->area) >> a & 1;
    }
    for (int i = 0; i < c->detections; i++)
        if (c->detection[i].image == image && c->detection[i].kind == kind) found[count++] = &c->detection[i];
    if (count) qsort(found, (size_t)count, sizeof *found, best_first);
    if (count > COCO_MOST) count = COCO_MOST;
    for (int i = 0; i < count; i++) memcpy(box[i], found[i]->box, sizeof box[i]);
    coco_match_image(match, box, count, object, object_count);
    for (int i = 0; i < count; i++) d[i] = (coco_detection){(float)found[i]->score, i, match[i]};
    return count;
}

/* By score, else in the order of the images. */
static void rank(coco_detection *d, int64_t count)
{
    for (int64_t i = 1; i < count; i++) {
        coco_detection x = d[i];
        int64_t k = i;
        for (; k > 0 && d[k - 1].score < x.score; k--) d[k] = d[k - 1];
        d[k] = x;
    }
}

static void judge(const test_case *c, const double expected[COCO_FIGURES])
{
    static coco_detection d[MOST];
    coco_means means = {0};
    double figure[COCO_FIGURES];
    for (int kind = 0; kind < c->classes; kind++) {
        int64_t count = 0, objects[COCO_AREAS] = {0};
        for (int image = 0; image < c->images; image++) count += match_image(c, image, kind, d + count, objects);
        rank(d, count);
        coco_class of_kind = coco_average(d, count, objects);
        coco_means_add(&means, &of_kind);
    }
    coco_figures(&means, figure);
    for (int i = 0; i < COCO_FIGURES; i++) {
        bool nothing = expected[i] < 0;
        if (nothing ? !isnan(figure[i]) : !(fabs(figure[i] - expected[i]) <= 1e-9))
            fail_msg("%d classes, %d images: %s is %.12g, expected %.12g", c->classes, c->images, coco_figure_name[i],
                figure[i], expected[i]);
    }
}

static void figures_are_those_of_pycocotools(void **state)
{
    (void)state;
    static test_case c;
    static char text[1024];
    FILE *f = fopen("tests/golden/coco_average.txt", "r");
    int cases = 0;
    assert_non_null(f);
    while (fgets(text, sizeof text, f)) {
        line l = {0};
        double e[COCO_FIGURES];
        if (sscanf(text, "case %d %d", &c.classes, &c.images) == 2) {
            c.objects = c.detections = 0;
        } else if (sscanf(text, "object %d %d %lf %lf %lf %lf %lf %d", &l.image, &l.kind, &l.box[0], &l.box[1],
                       &l.box[2], &l.box[3], &l.area, &l.crowd) == 8) {
            assert_true(c.objects < MOST);
            c.object[c.objects++] = l;
        } else if (sscanf(text, "detection %d %d %lf %lf %lf %lf %lf", &l.image, &l.kind, &l.box[0], &l.box[1],
                       &l.box[2], &l.box[3], &l.score) == 7) {
            assert_true(c.detections < MOST);
            c.detection[c.detections++] = l;
        } else {
            int read = sscanf(text, "figures %lf %lf %lf %lf %lf %lf %lf %lf %lf %lf %lf %lf", e, e + 1, e + 2, e + 3,
                e + 4, e + 5, e + 6, e + 7, e + 8, e + 9, e + 10, e + 11);
            assert_int_equal(read, COCO_FIGURES);
            judge(&c, e);
            cases++;
        }
    }
    fclose(f);
    assert_int_equal(cases, 6);
}

static void figures_of(double figure[COCO_FIGURES], const coco_detection *d, int64_t count, const int64_t *objects)
{
    coco_means means = {0};
    coco_class c = coco_average(d, count, objects);
    coco_means_add(&means, &c);
    coco_figures(&means, figure);
}

/* Nothing to find, nothing found, and one object found by half. */
static void edges(void **state)
{
    (void)state;
    double figure[COCO_FIGURES];
    figures_of(figure, NULL, 0, (int64_t[COCO_AREAS]){0});
    for (int i = 0; i < COCO_FIGURES; i++) assert_true(isnan(figure[i]));
    figures_of(figure, NULL, 0, (int64_t[]){2, 0, 2, 0});
    assert_true(figure[0] >= 0 && figure[0] <= 0);
    assert_true(isnan(figure[3]) && figure[4] >= 0 && figure[4] <= 0);
    coco_object object = {.box = {0, 0, 40, 40}, .area = 1600};
    coco_match match;
    coco_match_image(&match, &(coco_box){0, 0, 40, 20}, 1, &object, 1); /* an IoU of exactly 0.5 */
    figures_of(figure, &(coco_detection){.score = 1, .match = match}, 1, (int64_t[]){1, 0, 1, 0});
    assert_true(fabs(figure[0] - 0.1) < 1e-9 && fabs(figure[1] - 1) < 1e-9 && figure[2] <= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(figures_are_those_of_pycocotools), cmocka_unit_test(edges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
