/* Every family for one REAL. */
#include "vmath.h"
#include "activations.h"
FNN_ACTIVATIONS(KERNELS)
#include "losses.h"
#include "updates.h"
#include "gemm.h"
#include "recurrent.h"
#include "embedding.h"
#include "vectors.h"
#include "normalization.h"
#include "convolution.h"
#include "attention.h"
