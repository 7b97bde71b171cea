/* SPDX-License-Identifier: MIT */
/* bare_class.c - and class and slot size from the size. bare.h has it all. */
#define BARE_STEP BARE_CLASS
#include "bare.h"

int main(int argc, char **argv)
{
	return bare_main(argc, argv);
}
