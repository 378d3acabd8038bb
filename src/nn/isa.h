/* isa.h - which instructions our own kernels may use. Internal to src/nn, but for the limit, which is in nn.h. */
#ifndef DCAM_NN_ISA_H
#define DCAM_NN_ISA_H

#include "nn/nn.h"

/* What the processor has, at most the limit of dcam_nn_limit_isa. */
dcam_nn_isa dcam_nn_isa_here(void);

#endif
