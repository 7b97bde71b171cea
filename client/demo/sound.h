/* SPDX-License-Identifier: MIT */
/*
 * sound.h - whether what the index leads to is what it should be, while others write to it.
 */
#pragma once

#include "schema.h"

/* 0, or -EILSEQ after having said what is wrong. */
int sound_index(const struct index *index);
