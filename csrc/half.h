/* IEEE half <-> float in integer steps, so that every instruction set vectorises it and no FTZ/DAZ mode harms it. */
FNN_INLINE float from_half(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, m = h & 0x7fff;
    const uint32_t normal = (m << 13) + (m < 0x7c00 ? 112u << 23 : 224u << 23);
    const float tiny = (float)(int32_t)m * 0x1p-24f;
    uint32_t b;
    memcpy(&b, &tiny, 4);
    b = (m < 0x400 ? b : normal) | sign;
    float f;
    memcpy(&f, &b, 4);
    return f;
}

FNN_INLINE uint16_t to_half(float f)
{
    uint32_t b;
    memcpy(&b, &f, 4);
    const uint32_t sign = b >> 16 & 0x8000;
    b &= 0x7fffffff;
    const uint32_t normal = (b - (112u << 23) + 0xfff + (b >> 13 & 1)) >> 13; /* to nearest, ties to even */
    memcpy(&f, &b, 4);
    f += 0.5f; /* its last bit is worth 2^-24, a half's smallest step */
    uint32_t tiny;
    memcpy(&tiny, &f, 4);
    uint32_t h = b < 113u << 23 ? tiny - 0x3f000000 : normal;
    h = b < 143u << 23 ? h : 0x7c00;
    return (uint16_t)((b > 255u << 23 ? 0x7e00 : h) | sign);
}
