/* SPDX-License-Identifier: MIT */
/* bare_twice.c - and whether the slot is free already, elsewhere. bare.h has it all. */
#define BARE_STEP BARE_TWICE
#include "bare.h"

int main(int argc, char **argv)
{
	return bare_main(argc, argv);
}
