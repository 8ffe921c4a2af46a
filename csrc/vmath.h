/* exp and its kin as branch-free code that the compiler vectorises. Included once per REAL by kernels.c. */
#if FNN_IS_DOUBLE
FNN_INLINE double exp_f64(double x)
{
    x = 709.0 < x ? 709.0 : x;
    x = x < -708.0 ? -708.0 : x;
    const double t = x * 1.4426950408889634 + 6755399441055744.0, n = t - 6755399441055744.0;
    const double r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10;
    double p = 1.6059043836821613e-10;
    p = p * r + 2.08767569878681e-09; p = p * r + 2.505210838544172e-08; p = p * r + 2.755731922398589e-07;
    p = p * r + 2.7557319223985893e-06; p = p * r + 2.48015873015873e-05; p = p * r + 1.984126984126984e-04;
    p = p * r + 1.388888888888889e-03; p = p * r + 8.333333333333333e-03; p = p * r + 4.1666666666666664e-02;
    p = p * r + 1.6666666666666666e-01; p = p * r + 0.5; p = p * r * r + r + 1.0;
    int64_t b;
    memcpy(&b, &t, 8);
    b = (int64_t)((uint64_t)b << 52) + 0x3ff0000000000000;
    double s;
    memcpy(&s, &b, 8);
    return p * s;
}
#else
FNN_INLINE float exp_f32(float x)
{
    x = 88.3f < x ? 88.3f : x;
    x = x < -87.3f ? -87.3f : x;
    const float t = x * 1.44269504088896f + 12582912.f, n = t - 12582912.f;
    const float r = (x - n * 0.693145751953125f) - n * 1.428606765330187e-06f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f; p = p * r + 8.3334519073e-3f; p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f; p = p * r + 5.0000001201e-1f; p = p * r * r + r + 1.0f;
    int32_t b;
    memcpy(&b, &t, 4);
    b = (int32_t)((uint32_t)b << 23) + 0x3f800000;
    float s;
    memcpy(&s, &b, 4);
    return p * s;
}
#endif
