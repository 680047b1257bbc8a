// What this processor can do, asked in one place.
#ifndef OPS_CPU_ISA_H
#define OPS_CPU_ISA_H

#include "base/err.h"

int isa_check(Err *err);        // ERR_USAGE: a processor of its family that is too old
const char *isa_bf16(void);     // by what it multiplies bf16, NULL: not at all
int isa_has_tiles(void);        // AMX, whose tiles the kernel has granted: oneDNN asks for them
int isa_has_f32_products(void); // whether oneDNN has f32 products of its own for it, rather than the general one (blocks.c)

#endif
