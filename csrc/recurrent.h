/* What a gated recurrent cell does between matrix products, one formula a hidden unit. Included once per REAL by
   kernels.c. Arguments that are written come first; gates enter as sums and leave as activations.
   rnn needs nothing here: its function is an activation. */

/* Hochreiter and Schmidhuber 1997, with a forget gate. */
FNN_INLINE void F(lstm)(REAL *h, REAL *c, REAL *i, REAL *f, REAL *g, REAL *o, REAL c_before)
{
    *i = F(sigmoid)(*i), *f = F(sigmoid)(*f), *g = F(tanh)(*g), *o = F(sigmoid)(*o);
    *c = *f * c_before + *i * *g;
    *h = *o * F(tanh)(*c);
}

/* dc: the gradient of c that comes from later, then that of c_before. */
FNN_INLINE void F(lstm_backward)(REAL *di, REAL *df, REAL *dg, REAL *d_o, REAL *dc, REAL dh, REAL i, REAL f, REAL g,
                                 REAL o, REAL c, REAL c_before)
{
    const REAL y = F(tanh)(c), d = *dc + dh * o * F(tanh_slope)(y);
    *di = d * g * F(sigmoid_slope)(i);
    *df = d * c_before * F(sigmoid_slope)(f);
    *dg = d * i * F(tanh_slope)(g);
    *d_o = dh * y * F(sigmoid_slope)(o);
    *dc = d * f;
}

/* Cho et al. 2014, as cuDNN has it: the reset gate after the product. `of_h` = h_before @ w_hn.T + b_hn. */
FNN_INLINE void F(gru)(REAL *h, REAL *r, REAL *z, REAL *n, REAL of_h, REAL h_before)
{
    *r = F(sigmoid)(*r), *z = F(sigmoid)(*z), *n = F(tanh)(*n + *r * of_h);
    *h = *n + *z * (h_before - *n);
}

/* dh: the gradient of h, then what of it goes straight to h_before. */
FNN_INLINE void F(gru_backward)(REAL *dr, REAL *dz, REAL *dn, REAL *dof_h, REAL *dh, REAL r, REAL z, REAL n, REAL of_h,
                                REAL h_before)
{
    *dn = *dh * (C(1) - z) * F(tanh_slope)(n);
    *dz = *dh * (h_before - n) * F(sigmoid_slope)(z);
    *dr = *dn * of_h * F(sigmoid_slope)(r);
    *dof_h = *dn * r;
    *dh *= z;
}

/* As in the paper: the reset gate before the product, in two parts around it. `of_h` = r * h_before. */
FNN_INLINE void F(gru_reset)(REAL *of_h, REAL *r, REAL h_before)
{
    *r = F(sigmoid)(*r);
    *of_h = *r * h_before;
}

FNN_INLINE void F(gru_update)(REAL *h, REAL *z, REAL *n, REAL h_before)
{
    *z = F(sigmoid)(*z), *n = F(tanh)(*n);
    *h = *n + *z * (h_before - *n);
}

FNN_INLINE void F(gru_update_backward)(REAL *dz, REAL *dn, REAL *dh, REAL z, REAL n, REAL h_before)
{
    *dn = *dh * (C(1) - z) * F(tanh_slope)(n);
    *dz = *dh * (h_before - n) * F(sigmoid_slope)(z);
    *dh *= z;
}

FNN_INLINE void F(gru_reset_backward)(REAL *dr, REAL *dh, REAL dof_h, REAL r, REAL h_before)
{
    *dr = dof_h * h_before * F(sigmoid_slope)(r);
    *dh += dof_h * r;
}

/* A cell over rows of n units, array k with rows row[k] apart: whole blocks of constant length where they lie, what is
   left in a padded one through the same code, as in KERNEL. */
#define CELL_BLOCK 16
#define CELL(name, written, read, ...)                                                                          \
    static void F(name##_cell)(void *const *array, const ptrdiff_t *row, ptrdiff_t rows, ptrdiff_t n)           \
    {                                                                                                           \
        const ptrdiff_t whole = n / CELL_BLOCK * CELL_BLOCK;                                                    \
        const size_t left = (size_t)(n - whole) * sizeof(REAL);                                                 \
        REAL pad[written + read][CELL_BLOCK];                                                                   \
        for (ptrdiff_t r = 0; r < rows; r++)                                                                    \
            for (int padded = whole == 0; padded <= (left > 0); padded++) {                                     \
                REAL *at[12] = {0};                                                                             \
                for (int k = 0; k < written + read; k++) {                                                      \
                    at[k] = (REAL *)array[k] + r * row[k];                                                      \
                    if (padded) {                                                                               \
                        memset(pad[k], 0, sizeof pad[k]);                                                       \
                        at[k] = memcpy(pad[k], at[k] + whole, left);                                            \
                    }                                                                                           \
                }                                                                                               \
                REAL *const a0 = at[0], *const a1 = at[1], *const a2 = at[2], *const a3 = at[3];                \
                REAL *const a4 = at[4], *const a5 = at[5], *const a6 = at[6], *const a7 = at[7];                \
                REAL *const a8 = at[8], *const a9 = at[9], *const a10 = at[10], *const a11 = at[11];            \
                (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8, (void)a9, (void)a10, (void)a11;     \
                for (ptrdiff_t start = 0; start < (padded ? CELL_BLOCK : whole); start += CELL_BLOCK)           \
                    SIMD for (ptrdiff_t u = start; u < start + CELL_BLOCK; u++) F(name)(__VA_ARGS__);           \
                if (padded)                                                                                     \
                    for (int k = 0; k < written; k++)                                                           \
                        memcpy((REAL *)array[k] + r * row[k] + whole, pad[k], left);                            \
            }                                                                                                   \
    }
CELL(lstm, 6, 1, a0 + u, a1 + u, a2 + u, a3 + u, a4 + u, a5 + u, a6[u])
CELL(lstm_backward, 5, 7, a0 + u, a1 + u, a2 + u, a3 + u, a4 + u, a5[u], a6[u], a7[u], a8[u], a9[u], a10[u], a11[u])
CELL(gru, 4, 2, a0 + u, a1 + u, a2 + u, a3 + u, a4[u], a5[u])
CELL(gru_backward, 5, 5, a0 + u, a1 + u, a2 + u, a3 + u, a4 + u, a5[u], a6[u], a7[u], a8[u], a9[u])
CELL(gru_reset, 2, 1, a0 + u, a1 + u, a2[u])
CELL(gru_update, 3, 1, a0 + u, a1 + u, a2 + u, a3[u])
CELL(gru_update_backward, 3, 3, a0 + u, a1 + u, a2 + u, a3[u], a4[u], a5[u])
CELL(gru_reset_backward, 2, 3, a0 + u, a1 + u, a2[u], a3[u], a4[u])
#undef CELL
#undef CELL_BLOCK
