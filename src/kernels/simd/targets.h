// Include before hwy/foreach_target.h. A kernel is one source compiled for AVX2, AVX-512 and NEON
// by Highway, and once more without it for the scalar level (a *_scalar.cc file that defines
// RAPTLY_SCALAR_BUILD). Highway's other targets have no FMA or no fixed vector size: they compile
// to nothing (RAPTLY_TARGET_ENABLED is 0).
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_RVV)
