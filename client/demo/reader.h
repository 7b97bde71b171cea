/* SPDX-License-Identifier: MIT */
/*
 * reader.h - a process that answers one question from the index.
 */
#pragma once

#include "options.h"

/* Prints the answer to options' question: 0, or -errno after having said why not. */
int reader_run(const struct options *options);
