/* Rows of embeddings. Included once per REAL by kernels.c. */
static void F(accumulate)(void *out_, const void *in_, ptrdiff_t n)
{
    REAL *out = out_;
    const REAL *in = in_;
    SIMD for (ptrdiff_t i = 0; i < n; i++) out[i] += in[i];
}
