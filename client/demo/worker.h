/* SPDX-License-Identifier: MIT */
/*
 * worker.h - a process that reads files and adds their words to the index.
 */
#pragma once

#include "options.h"

/* Until there are no more files: 0, or -errno after having said why. */
int worker_run(const struct options *options);
