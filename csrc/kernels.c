/* All kernels for one instruction set: compiled once per ISA with -DFNN_ISA=... Only the table is exported. */
#include "fastnn.h"
#include <float.h>
#include <math.h>
#include <string.h>

#define FNN_INLINE static inline __attribute__((always_inline))
#define CAT_(a, b) a##_##b
#define CAT(a, b) CAT_(a, b)
#define STR_(a) #a
#define STR(a) STR_(a)
#define F(name) CAT(name, SFX) /* one name for both dtypes: F(exp) is exp_f32, exp_f64 */
#define C(v) ((REAL)(v))
#define SIMD _Pragma("omp simd")

/* Every elementwise loop runs over blocks of constant length, the tail copied into a padded one through the same
   code: the compiler makes no remainder loop, whose contractions would differ, so a result does not depend on
   where its element lies. */
enum { BLOCK = 64 };

/* Loops over several arrays that are larger than the cache ask for what comes AHEAD: a load that waits for a mask hides
   where it reads until the mask is there. 16M elements of hardtanh_backward take 5.3 ms so, and 11.9 ms otherwise. */
enum { LARGE = 1 << 16, AHEAD = 512 };
FNN_INLINE void prefetch(const void *block, size_t size)
{
    for (size_t at = 0; at < size; at += 64) __builtin_prefetch((const char *)block + at);
}

/* Of n_in inputs those after the first `arrays` are one number each, UNIFORM(k). */
#define IN(k) in##k[i]
#define UNIFORM(k) uniform##k
#define KERNEL(name, arrays, n_in, value)                                                      \
    static void F(name)(void *out, const void *const *in, ptrdiff_t n)                         \
    {                                                                                          \
        REAL pad[FNN_MAX_IN + 1][BLOCK];                                                       \
        const REAL uniform1 = arrays <= 1 && 1 < n_in ? *(const REAL *)in[1] : C(0);           \
        const REAL uniform2 = arrays <= 2 && 2 < n_in ? *(const REAL *)in[2] : C(0);           \
        const REAL uniform3 = arrays <= 3 && 3 < n_in ? *(const REAL *)in[3] : C(0);           \
        (void)uniform1, (void)uniform2, (void)uniform3;                                        \
        for (ptrdiff_t start = 0; start < n; start += BLOCK) {                                 \
            const size_t left = n - start < BLOCK ? (size_t)(n - start) * sizeof(REAL) : 0;    \
            const REAL *at[FNN_MAX_IN] = {pad[0], pad[0], pad[0], pad[0]};                     \
            for (int k = 0; k < arrays; k++) {                                                 \
                at[k] = (const REAL *)in[k] + start;                                           \
                if (arrays > 1 && n >= LARGE) prefetch(at[k] + AHEAD, sizeof pad[k]);          \
                if (left) {                                                                    \
                    memset(pad[k], 0, sizeof pad[k]);                                          \
                    at[k] = memcpy(pad[k], at[k], left);                                       \
                }                                                                              \
            }                                                                                  \
            const REAL *const in0 = at[0], *const in1 = at[1], *const in2 = at[2], *const in3 = at[3]; \
            (void)in1, (void)in2, (void)in3;                                                   \
            REAL *const to = left ? pad[FNN_MAX_IN] : (REAL *)out + start;                     \
            SIMD for (int i = 0; i < BLOCK; i++) to[i] = value;                                \
            if (left) memcpy((REAL *)out + start, to, left);                                   \
        }                                                                                      \
    }

/* The three kernels of a row of FNN_ACTIVATIONS, whose parameters follow x, or dy and what is saved; and three more
   where the parameters are numbers. */
#define AFTER_X_0(of)
#define AFTER_X_1(of) , of(1)
#define AFTER_X_2(of) , of(1), of(2)
#define AFTER_DY_0(of)
#define AFTER_DY_1(of) , of(2)
#define AFTER_DY_2(of) , of(2), of(3)
#define KERNELS_OF(name, suffix, more, params, of)                                                      \
    KERNEL(name##suffix, 1 + more, 1 + params, F(name)(IN(0) AFTER_X_##params(of)))                     \
    KERNEL(name##_derivative##suffix, 1 + more, 1 + params, F(name##_derivative)(IN(0) AFTER_X_##params(of))) \
    KERNEL(name##_backward##suffix, 2 + more, 2 + params, F(name##_backward)(IN(0), IN(1) AFTER_DY_##params(of)))
#define UNIFORM_KERNELS_0(name)
#define UNIFORM_KERNELS_1(name) KERNELS_OF(name, _uniform_n, 0, 1, UNIFORM)
#define UNIFORM_KERNELS_2(name) KERNELS_OF(name, _uniform_n, 0, 2, UNIFORM)
#define KERNELS(name, saved, params) KERNELS_OF(name, _n, params, params, IN) UNIFORM_KERNELS_##params(name)

FNN_INLINE float sqrt_f32(float x) { return sqrtf(x); }
FNN_INLINE double sqrt_f64(double x) { return sqrt(x); }

#define REAL float
#define SFX f32
#define FNN_IS_DOUBLE 0
#include "families.h"
#undef REAL
#undef SFX
#undef FNN_IS_DOUBLE
#define REAL double
#define SFX f64
#define FNN_IS_DOUBLE 1
#include "families.h"

#include "half.h"
static void from_half_n(float *out, const uint16_t *in, ptrdiff_t n) { SIMD for (ptrdiff_t i = 0; i < n; i++) out[i] = from_half(in[i]); }
static void to_half_n(uint16_t *out, const float *in, ptrdiff_t n) { SIMD for (ptrdiff_t i = 0; i < n; i++) out[i] = to_half(in[i]); }

#define THREE(name, suffix) name##suffix, name##_derivative##suffix, name##_backward##suffix,
#define ELEMENTWISE_f32(name, saved, params) THREE(name, _n_f32)
#define ELEMENTWISE_f64(name, saved, params) THREE(name, _n_f64)
#define UNIFORM_0(name, sfx) THREE(name, _n_##sfx)
#define UNIFORM_1(name, sfx) THREE(name, _uniform_n_##sfx)
#define UNIFORM_2 UNIFORM_1
#define UNIFORM_f32(name, saved, params) UNIFORM_##params(name, f32)
#define UNIFORM_f64(name, saved, params) UNIFORM_##params(name, f64)
#define ROWS_f32(name, n_in, width, padding) name##_rows_f32,
#define ROWS_f64(name, n_in, width, padding) name##_rows_f64,
#define LOSSES_f32(name, n_in) name##_n_f32,
#define LOSSES_f64(name, n_in) name##_n_f64,
#define UPDATES_f32(name, n_state) name##_n_f32,
#define UPDATES_f64(name, n_state) name##_n_f64,
#define CELLS_f32(name) name##_cell_f32,
#define CELLS_f64(name) name##_cell_f64,
#define TABLE(sfx)                                              \
    {                                                           \
        .elementwise = {FNN_ACTIVATIONS(ELEMENTWISE_##sfx)},    \
        .uniform = {FNN_ACTIVATIONS(UNIFORM_##sfx)},            \
        .rows = {FNN_ROW_OPS(ROWS_##sfx)},                      \
        .softmax_cross_entropy = softmax_cross_entropy_##sfx,   \
        .losses = {FNN_LOSSES(LOSSES_##sfx)},                   \
        .updates = {FNN_UPDATES(UPDATES_##sfx)},                \
        .transpose = transpose_##sfx,                           \
        .pack = pack_##sfx,                                     \
        .product = product_##sfx,                               \
        .matmul = matmul_##sfx,                                 \
        .matvec = matvec_##sfx,                                 \
        .matvecs = matvecs_##sfx,                               \
        .cells = {FNN_CELLS(CELLS_##sfx)},                      \
        .mask_scale = mask_scale_##sfx,                         \
        .accumulate = accumulate_##sfx,                         \
        .bag = bag_##sfx,                                       \
        .scaled = scaled_##sfx,                                 \
        .layer_norm = layer_norm_##sfx,                         \
        .layer_norm_backward = layer_norm_backward_##sfx,       \
        .row_moments = row_moments_##sfx,                       \
        .column_moments = column_moments_##sfx,                 \
        .row_dots = row_dots_##sfx,                             \
        .column_dots = column_dots_##sfx,                       \
        .affine = affine_##sfx,                                 \
        .read_plane = read_plane_##sfx,                         \
        .add_plane = add_plane_##sfx,                           \
        .crop = crop_##sfx,                                     \
        .window_product = window_product_##sfx,                 \
        .window_dots = window_dots_##sfx,                       \
        .max_pool = max_pool_##sfx,                             \
        .avg_pool = avg_pool_##sfx,                             \
        .avg_pool_backward = avg_pool_backward_##sfx,           \
        .largest = largest_##sfx,                               \
        .squared_norm = squared_norm_##sfx,                     \
        .weighted_rows = weighted_rows_##sfx,                   \
        .additive_scores = additive_scores_##sfx,               \
        .additive_backward = additive_backward_##sfx,           \
        .window_scores = window_scores_##sfx,                   \
        .window_gains = window_gains_##sfx,                     \
        .window_update = window_update_##sfx,                   \
        .window_sum = window_sum_##sfx,                         \
        .window_spread = window_spread_##sfx,                   \
    }

const fnn_kernels CAT(fnn_kernels, FNN_ISA) = {
    .isa = STR(FNN_ISA),
    .f32 = TABLE(f32),
    .f64 = TABLE(f64),
    .compare_bits = compare_bits,
    .from_half = from_half_n,
    .to_half = to_half_n,
    .gather = gather,
    .outside = outside,
    .fetch_rows = fetch_rows,
};
