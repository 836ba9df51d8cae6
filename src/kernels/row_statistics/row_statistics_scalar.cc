// The scalar level of row_statistics.
#define RAPTLY_SCALAR_BUILD
#include "kernels/row_statistics/row_statistics-inl.h"
