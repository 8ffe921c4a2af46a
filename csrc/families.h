/* Every family for one REAL. */
#include "vmath.h"
#include "activations.h"
FNN_ACTIVATIONS(KERNELS)
#include "gemm.h"
#include "losses.h"
#include "updates.h"
#include "recurrent.h"
#include "embedding.h"
#include "regularization.h"
#include "normalization.h"
#include "convolution.h"
#include "attention.h"
#include "word2vec.h"
