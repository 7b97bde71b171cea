/* SPDX-License-Identifier: MIT */
/* bare_page.c - and the page's record. bare.h has it all. */
#define BARE_STEP BARE_PAGE
#include "bare.h"

int main(int argc, char **argv)
{
	return bare_main(argc, argv);
}
