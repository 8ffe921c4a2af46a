/* Picks the table for this CPU. Compiled with the baseline's flags, so that it runs everywhere. */
#include "fastnn.h"
#include <string.h>

const fnn_op fnn_ops[FNN_N_OPS] = {
#define X(name, saved, params) \
    {#name, 1 + params, #saved}, {#name "_derivative", 1 + params, #saved}, {#name "_backward", 2 + params, #saved},
    FNN_ACTIVATIONS(X)
#undef X
};

extern const fnn_kernels fnn_kernels_baseline;
#if defined(__x86_64__)
extern const fnn_kernels fnn_kernels_x86_v3, fnn_kernels_x86_v4;

/* Features are asked for one by one: the names of the levels are too new for some compilers. */
static int has_v2(void) { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }
static int has_v3(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi")
        && __builtin_cpu_supports("bmi2");
}
static int has_v4(void)
{
    return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
static const struct {
    const fnn_kernels *table;
    int (*runs)(void);
} built[] = {{&fnn_kernels_x86_v4, has_v4}, {&fnn_kernels_x86_v3, has_v3}, {&fnn_kernels_baseline, has_v2}};
#else
static int always(void) { return 1; }
static const struct {
    const fnn_kernels *table;
    int (*runs)(void);
} built[] = {{&fnn_kernels_baseline, always}};
#endif
enum { N_BUILT = sizeof built / sizeof built[0] };

const fnn_kernels *fnn_active = &fnn_kernels_baseline;

const char *fnn_built_isa(int i) { return i < N_BUILT ? built[i].table->isa : 0; }

int fnn_runs_isa(int i) { return i < N_BUILT && built[i].runs(); }

const fnn_kernels *fnn_select(const char *isa)
{
    for (int i = 0; i < N_BUILT; i++)
        if (built[i].runs() && (!isa || !strcmp(isa, built[i].table->isa))) return fnn_active = built[i].table;
    return 0;
}
