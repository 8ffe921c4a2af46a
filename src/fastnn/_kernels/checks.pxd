# What kernels ask of memory, besides what a memoryview sees to.

cdef inline int check_aligned(size_t unit, const void *a, const void *b=NULL, const void *c=NULL) except -1:
    """Raise unless the addresses are multiples of the size of an element."""
    if (<size_t>a | <size_t>b | <size_t>c) % unit:
        raise ValueError("an array does not lie at a multiple of the size of its elements")
    return 0
