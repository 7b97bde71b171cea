/* SPDX-License-Identifier: MIT */
/* bare_gate.c - and the gate of a collector. bare.h has it all. */
#define BARE_STEP BARE_GATE
#include "bare.h"

int main(int argc, char **argv)
{
	return bare_main(argc, argv);
}
