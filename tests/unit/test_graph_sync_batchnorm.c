/* Ranks of one machine: what they add, how a lost one is noticed, and batch normalisation over all of their batches,
 * which must be that of one rank with the whole batch. Every rank is a process: results come back through memory shared
 * with this one. Inside a rank nothing asserts (a failure would run the other tests again, in every process): it exits.
 */
#include <math.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/dist/comm_shm.h"
#include "core/ops/internal.h"
#include "graph_fixture.h"

enum { IMAGES = 8, SIDE = 7, CLASSES = 3, MOST = 1 << 16, NO_DEVICE = 40 };

#define MUST(expr)                                                                                                     \
    do {                                                                                                               \
        if ((expr) != OK) {                                                                                            \
            fprintf(stderr, "%s: %s\n", #expr, status_message());                                                      \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

/* Ends with 0, or what was returned. */
typedef int rank_fn(comm *c, void *context);

/* Exit codes of the ranks, added, as rank 0 sees them. */
static int on_ranks(int32_t world, rank_fn *work, void *context)
{
    fflush(NULL);
    pid_t first = fork();
    if (first == 0) {
        int32_t rank;
        comm c;
        MUST(comm_shm_launch(world, &rank));
        MUST(comm_init(&c));
        if (c.world != world || c.rank != rank) _exit(2);
        int code = work(&c, context);
        comm_free(&c);
        if (rank == 0 && comm_shm_wait() != OK && code == 0) code = 3;
        _exit(code);
    }
    int ended;
    assert_true(first > 0);
    assert_int_equal(waitpid(first, &ended, 0), first);
    return WIFEXITED(ended) ? WEXITSTATUS(ended) : 100 + WTERMSIG(ended);
}

static void *shared_memory(size_t bytes)
{
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(data, MAP_FAILED);
    return data;
}

/* ---------------------------------------------------------------------------------------------------- sums */

/* More than a slot of shared memory holds, and an odd number. */
enum { MANY = 300007 };

static int add_and_send(comm *c, void *context)
{
    (void)context;
    float *x = malloc(MANY * sizeof *x);
    if (!x) return 10;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++) x[i] = (float)((c->rank + 1) * (i % 1013 + round));
        MUST(comm_all_reduce_sum(c, x, MANY, DTYPE_F32, NULL));
        int ranks = c->world * (c->world + 1) / 2;
        for (int i = 0; i < MANY; i++)
            if (x[i] != (float)(ranks * (i % 1013 + round))) return 11;
    }
    for (int i = 0; i < MANY; i++) x[i] = c->rank == 1 ? (float)(i + 5) : -1;
    MUST(comm_broadcast(c, x, MANY * (int64_t)sizeof *x, 1, NULL));
    for (int i = 0; i < MANY; i++)
        if (x[i] != (float)(i + 5)) return 12;
    free(x);
    /* In rank order: 1e16 swallows the 1 behind it, and only the last one is left. Backwards nothing is. */
    const double parts[4] = {1e16, 1, -1e16, 1};
    double order[2] = {c->rank < 4 ? parts[c->rank] : 0, c->rank < 4 ? parts[3 - c->rank] : 0};
    MUST(comm_all_reduce_host(c, order, 2));
    if (c->world == 4 && (order[0] != 1 || order[1] != 0)) return 13;
    MUST(comm_barrier(c));
    int32_t integers[1] = {1};
    return comm_all_reduce_sum(c, integers, 1, DTYPE_I32, NULL) == E_INTERNAL ? 0 : 14;
}

static void ranks_add_in_their_order(void **state)
{
    (void)state;
    assert_int_equal(on_ranks(2, add_and_send, NULL), 0);
    assert_int_equal(on_ranks(3, add_and_send, NULL), 0);
    assert_int_equal(on_ranks(4, add_and_send, NULL), 0);
}

static int one_dies(comm *c, void *codes_)
{
    int *codes = codes_;
    double one = 1;
    MUST(comm_all_reduce_host(c, &one, 1));
    if (c->rank == 2) abort();
    codes[c->rank] = comm_barrier(c);
    return 0;
}

static void a_lost_rank_stops_the_others(void **state)
{
    (void)state;
    int *codes = shared_memory(4096);
    assert_int_equal(on_ranks(3, one_dies, codes), 3); /* and rank 0 says that one has failed */
    assert_int_equal(codes[0], E_TEMPORARY);
    assert_int_equal(codes[1], E_TEMPORARY);
    munmap(codes, 4096);
}

/* ---------------------------------------------------------------------------------------------------- batch
 * normalisation */

typedef struct job {
    graph part[4], whole; /* with gradients; part[r]: rank r's */
    int32_t world, first[4], count[4];
    spec_device device;
    bool reference;
    double *results;      /* [world + 1][MOST], shared: logits or dx (own images), state, gradients; the whole's last */
} job;

/* Values of image i of `name`: the same whoever has it. */
static void feed(plan *p, edge_id e, int32_t first)
{
    const edge *x = &plan_graph(p)->edges[e];
    int64_t count = shape_count(x->shape), each = count / x->shape.dim[0];
    void *host = malloc(edge_bytes(plan_graph(p), e));
    if (!host) _exit(1);
    for (int64_t i = 0; i < count; i++) {
        int64_t image = first + i / each, k = i % each;
        rng r = rng_make(31, RNG_TEST, (uint64_t)(image * 100000 + k));
        double value = strcmp(x->name, "targets") == 0 ? (double)(k == image % each) : 2 * rng_uniform_double(&r) - 0.5;
        dtype_store(host, x->type, i, value);
    }
    MUST(plan_set_input(p, e, host, edge_bytes(plan_graph(p), e)));
    free(host);
}

static int64_t read_edge(plan *p, edge_id e, double *to)
{
    const edge *x = &plan_graph(p)->edges[e];
    int64_t count = shape_count(x->shape);
    void *host = malloc(edge_bytes(plan_graph(p), e));
    if (!host) _exit(1);
    MUST(plan_get(p, e, host, edge_bytes(plan_graph(p), e)));
    for (int64_t i = 0; i < count; i++) to[i] = dtype_load(host, x->type, i);
    free(host);
    return count;
}

static bool is_kept(const edge *e) { return e->kind == EDGE_STATE || e->kind == EDGE_GRAD; }

/* Passes order edges anew. */
static edge_id find_kept(const graph *g, const edge *as)
{
    for (edge_id e = 0; e < g->edge_count; e++)
        if (g->edges[e].kind == as->kind && strcmp(g->edges[e].name, as->name) == 0) return e;
    _exit(1);
}

static void run_part(const graph *g, const job *j, int32_t first, const plan_sums *sums, device *dev, double *results)
{
    plan *p;
    param_store *store;
    MUST(param_store_create(&store, g, dev, true));
    MUST(plan_create(&p, g, dev,
        &(plan_options){.reference = j->reference, .store = store, .sums = sums, .keep_activations = true}));
    for (int32_t i = 0; i < g->input_count; i++) feed(p, g->inputs[i], first);
    MUST(plan_run(p));
    for (int32_t i = 0; i < g->output_count; i++) results += read_edge(p, g->outputs[i], results);
    for (edge_id e = 0; e < j->whole.edge_count; e++)
        if (is_kept(&j->whole.edges[e])) results += read_edge(p, find_kept(g, &j->whole.edges[e]), results);
    plan_destroy(p);
    param_store_destroy(store);
}

static status sum(void *ranks, void *data, int64_t count, dtype type, void *stream)
{
    return comm_all_reduce_sum(ranks, data, count, type, stream);
}

static int run_job(comm *c, void *job_)
{
    job *j = job_;
    logger log;
    device *dev;
    log_init(&log, stderr, LOG_WARN, c->rank);
    if (device_open(&dev, j->device, 0, 1, &log) != OK) return c->rank == 0 ? NO_DEVICE : 0;
    comm_use_device(c, dev);
    const plan_sums sums = {sum, c, false};
    run_part(&j->part[c->rank], j, j->first[c->rank], &sums, dev, &j->results[c->rank * MOST]);
    if (c->rank == 0) run_part(&j->whole, j, 0, NULL, dev, &j->results[j->world * MOST]);
    device_close(dev);
    return 0;
}

/* conv, bn, relu, conv 3x3, bn, relu6, sum with what the first made, bn with frozen gamma and beta, pool, linear, loss:
 * what fusions do to it included. */
static void build_network(graph *g, dtype type, int64_t n)
{
    fixture f;
    graph fused = {0};
    fixture_init(&f, type);
    edge_id x = graph_input(&f.g, "x", type, shape_4(n, SIDE, SIDE, 3)), first;
    edge_id targets = graph_input(&f.g, "targets", DTYPE_F32, shape_2(n, CLASSES));
    x = fx_conv(&f, x, "conv1", (fixture_conv){.oc = 8, .side = 3, .pad = 1});
    first = x = fx_act(&f, fx_batchnorm(&f, x, "bn1", false), "act1", ACT_RELU, 0, 0);
    x = fx_conv(&f, x, "conv2", (fixture_conv){.oc = 8, .side = 3, .pad = 1});
    x = fx_act(&f, fx_batchnorm(&f, x, "bn2", false), "act2", ACT_RELU6, 0, 0);
    x = fx_add(&f, fx_conv(&f, x, "conv3", (fixture_conv){.oc = 8, .side = 1}), first, "sum");
    x = fx_batchnorm(&f, x, "bn3", false);
    x = fx_one(&f, &op_pool, "pool", &(pool_attr){.kind = POOL_AVERAGE, .global = true}, x);
    x = fx_linear(&f, x, "fc", CLASSES, true);
    edge_id loss = fx_two(&f, &op_softmax_ce, "loss", &(loss_attr){.grad_scale = (float)n / IMAGES}, x, targets);
    for (edge_id e = 0; e < f.g.edge_count; e++)
        if (f.g.edges[e].kind == EDGE_PARAM && strncmp(f.g.edges[e].name, "bn3", 3) == 0) f.g.edges[e].frozen = true;
    GOOD(graph_output(&f.g, x));
    GOOD(graph_output(&f.g, loss));
    GOOD(pass_fuse_training(&fused, &f.g));
    GOOD(pass_lower(g, &fused, true));
    GOOD(graph_backward(g, &g->outputs[1], 1, NULL, 0, NULL));
    g->output_count = 1;
    graph_free(&fused);
    graph_free(&f.g);
}

/* x [n, CLASSES] -> bn -> softmax and cross entropy; the outputs are y and the gradient by x. */
static void build_vector(graph *g, dtype type, int64_t n)
{
    fixture f;
    edge_id dx, loss;
    fixture_init(&f, type);
    edge_id x = graph_input(&f.g, "x", type, shape_2(n, CLASSES)),
            targets = graph_input(&f.g, "targets", DTYPE_F32, shape_2(n, CLASSES));
    x = fx_batchnorm(&f, x, "bn", false);
    loss = fx_two(&f, &op_softmax_ce, "loss", &(loss_attr){.grad_scale = (float)n / IMAGES}, x, targets);
    GOOD(graph_output(&f.g, x));
    GOOD(graph_output(&f.g, loss));
    GOOD(pass_lower(g, &f.g, true));
    loss = g->outputs[1];
    GOOD(graph_backward(g, &loss, 1, &g->inputs[0], 1, &dx));
    g->outputs[1] = dx;
    graph_free(&f.g);
}

typedef void build_fn(graph *g, dtype type, int64_t n);

static void make_job(job *j, build_fn *build, dtype type, int32_t world, const int32_t *count)
{
    *j = (job){.world = world, .results = shared_memory((size_t)(world + 1) * MOST * sizeof(double))};
    build(&j->whole, type, IMAGES);
    for (int32_t r = 0, first = 0; r < world; first += count[r++]) {
        graph own = {0};
        j->first[r] = first, j->count[r] = count[r];
        build(&own, type, count[r]);
        GOOD(pass_sync_batchnorm(&j->part[r], &own, count[r], IMAGES));
        GOOD(graph_check(&j->part[r]));
        graph_free(&own);
    }
}

static void free_job(job *j)
{
    munmap(j->results, (size_t)(j->world + 1) * MOST * sizeof(double));
    for (int32_t r = 0; r < j->world; r++) graph_free(&j->part[r]);
    graph_free(&j->whole);
}

/* Both relative to the norm of what is expected. */
static void assert_near(const double *x, const double *expected, int64_t count, double bound, const char *what)
{
    double error = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        error += (x[i] - expected[i]) * (x[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    assert_true(norm > 1e-6);
    if (!(sqrt(error / norm) <= bound))
        fail_msg("%s: off by %g of its norm, %g allowed", what, sqrt(error / norm), bound);
}

/* Outputs of all ranks one behind the other, running statistics of each, sums of gradients: the whole's. */
static void compare(const job *j, double bound)
{
    const graph *g = &j->whole;
    const double *whole = &j->results[j->world * MOST];
    int64_t at[4] = {0}, w = 0;
    for (int32_t i = 0; i < g->output_count; i++) {
        int64_t each = shape_count(g->edges[g->outputs[i]].shape) / IMAGES;
        for (int32_t r = 0; r < j->world; r++) {
            assert_near(
                &j->results[r * MOST + at[r]], &whole[w + j->first[r] * each], j->count[r] * each, bound, "output");
            at[r] += j->count[r] * each;
        }
        w += IMAGES * each;
    }
    for (edge_id e = 0; e < g->edge_count; e++) {
        int64_t count = shape_count(g->edges[e].shape);
        double sums[1024] = {0};
        if (!is_kept(&g->edges[e])) continue;
        assert_true(count <= 1024);
        for (int32_t r = 0; r < j->world; r++) {
            const double *part = &j->results[r * MOST + at[r]];
            if (g->edges[e].kind == EDGE_STATE) assert_near(part, &whole[w], count, bound, g->edges[e].name);
            for (int64_t i = 0; i < count; i++) sums[i] += part[i];
            at[r] += count;
        }
        if (g->edges[e].kind == EDGE_GRAD) assert_near(sums, &whole[w], count, bound, g->edges[e].name);
        w += count;
    }
    assert_true(w < MOST);
}

static const int32_t halves[] = {3, 5}, quarters[] = {1, 2, 4, 1};

/* In double everything else than an equal sum in another order would show. */
static void ranks_are_one_rank_with_the_whole_batch(void **state)
{
    (void)state;
    for (int32_t world = 2; world <= 4; world += 2) {
        job j;
        make_job(&j, build_network, DTYPE_F64, world, world == 2 ? halves : quarters);
        j.device = SPEC_DEVICE_CPU;
        j.reference = true;
        assert_int_equal(on_ranks(world, run_job, &j), 0);
        compare(&j, 1e-12);
        free_job(&j);
    }
}

/* Each node rounds once, and sums at most T = 8 * 7 * 7 products in f32 in an order of its own: independent roundings
 * of 2^-24 grow as sqrt(nodes * T); 4 times that against chance. */
static void compare_on(spec_device kind, bool fused)
{
    for (int32_t world = 2; world <= 4; world += 2) {
        job j;
        make_job(&j, build_network, DTYPE_F32, world, world == 2 ? halves : quarters);
        j.device = kind;
        fused_traffic saved = {0};
        for (int32_t r = 0; fused && r < world; r++) {
            graph with = {0};
            GOOD(pass_fuse_statistics(&with, &j.part[r], BACKEND_REF, &saved));
            graph_free(&j.part[r]);
            j.part[r] = with;
        }
        j.reference = fused;
        assert_int_equal(saved.statistics, fused ? 2 * world : 0);
        int code = on_ranks(world, run_job, &j);
        if (code == NO_DEVICE) {
            free_job(&j);
            skip();
        }
        assert_int_equal(code, 0);
        compare(&j, 4 * sqrt((double)j.whole.node_count * IMAGES * SIDE * SIDE) * 0x1p-24);
        free_job(&j);
    }
}

static void on_the_cpu(void **state)
{
    (void)state;
    compare_on(SPEC_DEVICE_CPU, false);
}

static void with_statistics_in_convolutions(void **state)
{
    (void)state;
    compare_on(SPEC_DEVICE_CPU, true);
}

static void on_a_gpu(void **state)
{
    (void)state;
    compare_on(SPEC_DEVICE_CUDA, false);
}

/* Straight from the definitions: Ioffe and Szegedy 2015 over the rows of all ranks, and the derivative of cross
 * entropy. */
typedef struct closed_form {
    double y[IMAGES][CLASSES], dx[IMAGES][CLASSES], mean[CLASSES], var[CLASSES], dgamma[CLASSES], dbeta[CLASSES];
} closed_form;

static void compute(closed_form *f, const graph *g)
{
    const edge *gamma = &g->edges[graph_find_edge(g, "bn.weight")], *beta = &g->edges[graph_find_edge(g, "bn.bias")];
    double x[IMAGES][CLASSES], normal[IMAGES][CLASSES], dy[IMAGES][CLASSES], sum_exp;
    *f = (closed_form){0};
    for (int i = 0; i < IMAGES; i++)
        for (int k = 0; k < CLASSES; k++) {
            rng r = rng_make(31, RNG_TEST, (uint64_t)(i * 100000 + k));
            x[i][k] = 2 * rng_uniform_double(&r) - 0.5;
            f->mean[k] += x[i][k] / IMAGES;
        }
    for (int k = 0; k < CLASSES; k++) {
        for (int i = 0; i < IMAGES; i++) f->var[k] += (x[i][k] - f->mean[k]) * (x[i][k] - f->mean[k]) / IMAGES;
        for (int i = 0; i < IMAGES; i++) {
            normal[i][k] = (x[i][k] - f->mean[k]) / sqrt(f->var[k] + (double)1e-5f);
            f->y[i][k] = dtype_load(gamma->data, DTYPE_F64, k) * normal[i][k] + dtype_load(beta->data, DTYPE_F64, k);
        }
    }
    for (int i = 0; i < IMAGES; i++) {
        sum_exp = 0;
        for (int k = 0; k < CLASSES; k++) sum_exp += exp(f->y[i][k]);
        for (int k = 0; k < CLASSES; k++) dy[i][k] = (exp(f->y[i][k]) / sum_exp - (k == i % CLASSES)) / IMAGES;
    }
    for (int k = 0; k < CLASSES; k++) {
        for (int i = 0; i < IMAGES; i++) f->dbeta[k] += dy[i][k], f->dgamma[k] += dy[i][k] * normal[i][k];
        for (int i = 0; i < IMAGES; i++)
            f->dx[i][k] = dtype_load(gamma->data, DTYPE_F64, k) / sqrt(f->var[k] + (double)1e-5f) *
                          (dy[i][k] - f->dbeta[k] / IMAGES - normal[i][k] * f->dgamma[k] / IMAGES);
    }
}

static void the_closed_form(void **state)
{
    (void)state;
    for (int32_t world = 2; world <= 4; world += 2) {
        job j;
        closed_form f;
        make_job(&j, build_vector, DTYPE_F64, world, world == 2 ? halves : quarters);
        j.device = SPEC_DEVICE_CPU;
        j.reference = true;
        compute(&f, &j.whole);
        /* One rank with one row cannot, and says so, unless ranks share: the plan of `whole` runs beside it. */
        assert_int_equal(on_ranks(world, run_job, &j), 0);
        double dgamma[CLASSES] = {0}, dbeta[CLASSES] = {0}, m = (double)0.1f;
        for (int32_t r = 0; r < world; r++) {
            int64_t own = j.count[r] * CLASSES;
            const double *at = &j.results[r * MOST];
            assert_near(at, &f.y[j.first[r]][0], own, 1e-12, "y");
            assert_near(at + own, &f.dx[j.first[r]][0], own, 1e-12, "dx");
            at += 2 * own;
            for (edge_id e = 0; e < j.whole.edge_count; e++) {
                const edge *d = &j.whole.edges[e];
                if (!is_kept(d)) continue;
                bool is_mean = strcmp(d->name, "bn.running_mean") == 0;
                for (int k = 0; k < CLASSES; k++) {
                    double old = d->kind == EDGE_STATE ? dtype_load(d->data, DTYPE_F64, k) : 0;
                    double batch = is_mean ? f.mean[k] : f.var[k] * IMAGES / (IMAGES - 1);
                    if (d->kind == EDGE_STATE) assert_true(fabs(at[k] - ((1 - m) * old + m * batch)) < 1e-12);
                    else if (strcmp(d->name, "bn.weight") == 0) dgamma[k] += at[k];
                    else dbeta[k] += at[k];
                }
                at += CLASSES;
            }
        }
        assert_near(dgamma, f.dgamma, CLASSES, 1e-12, "dgamma");
        assert_near(dbeta, f.dbeta, CLASSES, 1e-12, "dbeta");
        free_job(&j);
    }
}

static void one_value_is_too_few_alone(void **state)
{
    (void)state;
    graph alone = {0}, shared = {0};
    machine m;
    plan *p;
    machine_init(&m);
    build_vector(&alone, DTYPE_F64, 1);
    assert_int_equal(plan_create(&p, &alone, m.dev, &(plan_options){.reference = true}), E_MODEL);
    assert_non_null(strstr(status_message(), "at least 2 values per channel"));
    GOOD(pass_sync_batchnorm(&shared, &alone, 1, 2));
    assert_int_equal(
        plan_create(&p, &shared, m.dev, &(plan_options){.reference = true}), E_INTERNAL); /* nobody to ask */
    assert_non_null(strstr(status_message(), "sums over ranks"));
    graph_free(&alone), graph_free(&shared);
    machine_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_add_in_their_order),
        cmocka_unit_test(a_lost_rank_stops_the_others),
        cmocka_unit_test(ranks_are_one_rank_with_the_whole_batch),
        cmocka_unit_test(the_closed_form),
        cmocka_unit_test(on_the_cpu),
        cmocka_unit_test(with_statistics_in_convolutions),
        cmocka_unit_test(on_a_gpu),
        cmocka_unit_test(one_value_is_too_few_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
