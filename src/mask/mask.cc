#include "raptly/mask.h"
