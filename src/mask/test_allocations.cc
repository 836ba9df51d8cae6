// operator new throws under the sanitizers too, so that tests can ask for more than there is.
#include "base/test_allocations-inl.h"
