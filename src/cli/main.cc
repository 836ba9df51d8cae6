#include "cli/program.h"

int main(int argc, char** argv) { return raptly::run_program(argc, argv); }
