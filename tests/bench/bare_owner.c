/* SPDX-License-Identifier: MIT */
/* bare_owner.c - and whose slab it is. bare.h has it all. */
#define BARE_STEP BARE_OWNER
#include "bare.h"

int main(int argc, char **argv)
{
	return bare_main(argc, argv);
}
