/* Rows of embeddings. Included once per REAL by kernels.c. */
static void F(accumulate)(void *out_, const void *in_, ptrdiff_t n)
{
    REAL *out = out_;
    const REAL *in = in_;
    SIMD for (ptrdiff_t i = 0; i < n; i++) out[i] += in[i];
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
    enum { CHUNK = 64, AHEAD = 8 };
    char *out = out_;
    const char *table = table_;
    for (ptrdiff_t i = 0; i < n; i++, out += size) {
        const char *const from = table + index[i] * row;
        const char *const next = table + index[i + AHEAD < n ? i + AHEAD : i] * row;
        ptrdiff_t j = 0;
        for (; j + CHUNK <= size; j += CHUNK) {
            __builtin_prefetch(next + j);
            memcpy(out + j, from + j, CHUNK);
        }
        if (j < size) memcpy(out + j, from + j, (size_t)(size - j));
    }
}
#endif
