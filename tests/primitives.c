/* The table of primitives without Python, for processors that only an emulator stands for: `nox -s cross` runs it.
   Values are held against the C library's in double, and each result against its own at another offset and length. */
#include "fastnn.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static int failures;

static void expect(int holds, const char *what, double got, double want)
{
    if (holds) return;
    failures++;
    printf("%s: %.9g, expected %.9g\n", what, got, want);
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }
static double gelu(double x) { return x * 0.5 * erfc(-x * sqrt(0.5)); }
static double silu(double x) { return x * sigmoid(x); }
static double mish(double x) { return x * tanh(softplus(x)); }
static double expm1_below(double x) { return x > 0 ? x : expm1(x); }

static const struct {
    const char *name;
    double (*want)(double);
    double ulps;
} functions[] = {{"sigmoid", sigmoid, 2.5}, {"tanh", tanh, 2.5}, {"softplus", softplus, 3}, {"gelu", gelu, 6},
                 {"silu", silu, 3.5},       {"mish", mish, 5},   {"elu", expm1_below, 2}};

enum { N = 1000 };
static float x[N], y[N], z[N];

static void elementwise(const fnn_real *table)
{
    const float one = 1;
    for (int i = 0; i < N; i++) x[i] = (float)(0.04 * (i - N / 2));
    for (size_t f = 0; f < sizeof functions / sizeof functions[0]; f++) {
        int op = 0;
        while (strcmp(fnn_ops[op].name, functions[f].name)) op++;
        const void *in[] = {x, &one};
        table->uniform[op](y, in, N);
        for (int i = 0; i < N; i++) {
            const double want = functions[f].want(x[i]), unit = ldexp(1, (fabs(want) < 0x1p-126 ? -126 : ilogb(want)) - 23);
            expect(fabs(y[i] - want) <= functions[f].ulps * unit, functions[f].name, y[i], want);
        }
        for (int start = 0; start < 70; start += 7)
            for (int n = 1; n < 140; n += 23) {
                const void *part[] = {x + start, &one};
                table->uniform[op](z, part, n);
                expect(!memcmp(z, y + start, (size_t)n * sizeof *z), "the same at another offset", z[0], y[start]);
            }
    }
}

static void rows(const fnn_real *table)
{
    enum { CLASSES = 10, ROWS = 7 };
    const void *in[] = {x};
    for (int i = 0; i < ROWS * CLASSES; i++) x[i] = (float)(i * 37 % 11 - 5);
    table->rows[FNN_softmax](y, in, ROWS, CLASSES);
    for (int r = 0; r < ROWS; r++) {
        double sum = 0;
        for (int i = 0; i < CLASSES; i++) sum += exp(x[r * CLASSES + i]);
        for (int i = 0; i < CLASSES; i++) {
            const double want = exp(x[r * CLASSES + i]) / sum;
            expect(fabs(y[r * CLASSES + i] - want) <= 1e-6 * want, "softmax", y[r * CLASSES + i], want);
        }
    }
}

static void update(const fnn_real *table)
{
    enum { LENGTH = 77 };
    float m[LENGTH], v[LENGTH];
    const fnn_hyper hyper = {.lr = 0.01, .sign = 1, .shrink = 1, .beta1 = 0.9, .gain1 = 0.1, .beta2 = 0.99,
                             .gain2 = 0.01, .eps = 1e-3};
    void *const state[] = {m, v};
    for (int i = 0; i < LENGTH; i++) x[i] = m[i] = v[i] = 0.5f, y[i] = (float)(i - 30);
    table->updates[FNN_adam_update](x, y, state, &hyper, LENGTH);
    for (int i = 0; i < LENGTH; i++) {
        const double first = 0.45 + 0.1 * (i - 30), second = 0.495 + 0.01 * (i - 30) * (i - 30);
        const double want = 0.5 - 0.01 * first / (sqrt(second) + 1e-3);
        expect(fabs(x[i] - want) < 1e-6, "adam_update", x[i], want);
    }
}

static void product(const fnn_real *table)
{
    enum { ROWS = 13, DEPTH = 19, COLUMNS = 27 };
    static float a[ROWS * DEPTH], b[DEPTH * COLUMNS], c[ROWS * COLUMNS], zeros[COLUMNS + 64];
    for (int i = 0; i < ROWS * DEPTH; i++) a[i] = (float)(i % 17 - 8);
    for (int i = 0; i < DEPTH * COLUMNS; i++) b[i] = (float)(i % 23 - 11);
    table->matmul(c, zeros, a, b, ROWS, COLUMNS, DEPTH, COLUMNS, 0, DEPTH, COLUMNS, 1);
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < COLUMNS; j++) {
            double want = 0;
            for (int k = 0; k < DEPTH; k++) want += a[r * DEPTH + k] * b[k * COLUMNS + j];
            expect(c[r * COLUMNS + j] == want, "matmul", c[r * COLUMNS + j], want); /* whole numbers */
        }
}

static void count(void *counts, ptrdiff_t block) { ((unsigned char *)counts)[block]++; }

static void threads(void)
{
    enum { BLOCKS = 500 };
    unsigned char counts[BLOCKS] = {0};
    fastnn_set_num_threads(3);
    for (int i = 0; i < 20; i++) fnn_parallel(count, counts, BLOCKS);
    for (int b = 0; b < BLOCKS; b++) expect(counts[b] == 20, "every block once a call", counts[b], 20);
}

int main(void)
{
    for (int i = 0; fnn_built_isa(i); i++) {
        if (!fnn_runs_isa(i)) continue;
        fnn_select(fnn_built_isa(i));
        elementwise(&fnn_active->f32);
        rows(&fnn_active->f32);
        update(&fnn_active->f32);
        product(&fnn_active->f32);
        printf("%s: %d failures\n", fnn_active->isa, failures);
    }
    threads();
    return failures != 0;
}
