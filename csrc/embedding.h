/* Rows of embeddings. Included once per REAL by kernels.c. */
static void F(accumulate)(void *out_, const void *in_, ptrdiff_t n)
{
    REAL *out = out_;
    const REAL *in = in_;
    SIMD for (ptrdiff_t i = 0; i < n; i++) out[i] += in[i];
}

/* One bag: the sum, or the mean, of the rows of a table that the indices name, but for `skip`, each times its weight if
   there are weights. In blocks of columns, which stay in registers. */
static void F(bag)(void *out, const void *table, const int64_t *index, const void *weight, int64_t skip, int mean,
                   ptrdiff_t count, ptrdiff_t n)
{
    for (ptrdiff_t start = 0; start < n; start += BLOCK) {
        const size_t size = (size_t)(n - start < BLOCK ? n - start : BLOCK) * sizeof(REAL);
        REAL sum[BLOCK] = {0}, pad[BLOCK] = {0};
        ptrdiff_t used = 0;
        for (ptrdiff_t k = 0; k < count; k++) {
            if (index[k] == skip) continue;
            const REAL *row = (const REAL *)table + index[k] * n + start;
            const REAL w = weight ? ((const REAL *)weight)[k] : C(1);
            if (size < sizeof pad) row = memcpy(pad, row, size);
            SIMD for (int i = 0; i < BLOCK; i++) sum[i] += w * row[i];
            used++;
        }
        if (mean && used) {
            SIMD for (int i = 0; i < BLOCK; i++) sum[i] /= (REAL)used;
        }
        memcpy((REAL *)out + start, sum, size);
    }
}

static void F(scaled)(void *out_, const void *in_, double factor_, ptrdiff_t n)
{
    REAL *out = out_;
    const REAL *in = in_, factor = C(factor_);
    SIMD for (ptrdiff_t i = 0; i < n; i++) out[i] = factor * in[i];
}

#if !FNN_IS_DOUBLE /* what moves bytes serves every dtype */
static int outside(const int64_t *index, ptrdiff_t n, ptrdiff_t rows)
{
    uint64_t wrong = 0;
    for (ptrdiff_t i = 0; i < n; i++) wrong |= (uint64_t)index[i] | ((uint64_t)rows - 1 - (uint64_t)index[i]);
    return wrong >> 63; /* the sign of any index, or of what is left after it */
}

static void gather(void *out_, const void *table_, const int64_t *index, ptrdiff_t n, ptrdiff_t size, ptrdiff_t row)
{
    enum { NEXT = 8 };
    char *out = out_;
    const char *table = table_;
    for (ptrdiff_t i = 0; i < n; i++, out += size) {
        const char *const from = table + index[i] * row;
        prefetch(table + index[i + NEXT < n ? i + NEXT : i] * row, (size_t)size);
        memcpy(out, from, (size_t)size);
    }
}
#endif
