/* SPDX-License-Identifier: MIT */
/* bare.c - the sequences alone. bare.h has it all. */
#define BARE_STEP BARE_SEQUENCES
#include "bare.h"

int main(int argc, char **argv)
{
	return bare_main(argc, argv);
}
