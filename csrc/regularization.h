/* Dropout. Included once per REAL by kernels.c. */

/* out = scale * in where the mask is set, and `rest` elsewhere, whatever is there */
static void F(mask_scale)(void *out_, const void *in_, const uint8_t *mask, double scale, double rest, ptrdiff_t n)
{
    REAL *const out = out_;
    const REAL *const in = in_, factor = C(scale), other = C(rest);
    SIMD for (ptrdiff_t i = 0; i < n; i++) {
        const REAL scaled = factor * in[i];
        out[i] = mask[i] ? scaled : other;
    }
}

#if !FNN_IS_DOUBLE /* once, not for each dtype */
/* mask = 1 where 16 random bits are more than `least`, 2 where they are that, else 0; returns whether any were that */
static int compare_bits(uint8_t *mask, const uint16_t *bits, uint16_t least, ptrdiff_t n)
{
    uint8_t equal = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        const uint8_t same = bits[i] == least;
        mask[i] = (uint8_t)((bits[i] > least) | same << 1);
        equal |= same;
    }
    return equal;
}
#endif
