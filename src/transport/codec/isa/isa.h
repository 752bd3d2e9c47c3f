// The tables that are built. Each <isa>.cc is compiled for instructions that not every machine has, so it includes no code
// that the linker may merge with other files' copies: everything in it is in an anonymous namespace (kernels/isa/prelude.h
// says more; the test codec_objects_share_nothing looks at their symbols).
#pragma once

#include "transport/codec/codec.h"

namespace cohort::transport::codec {

extern const Codec kPlain;   // the compiler's choice of instructions
extern const Codec kAvx2;    // the first two on x86-64
extern const Codec kAvx512;  // F, BW, DQ and VL
extern const Codec kNeon;    // on AArch64

}  // namespace cohort::transport::codec
