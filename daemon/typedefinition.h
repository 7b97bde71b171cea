/* SPDX-License-Identifier: MIT */
/*
 * typedefinition.h - the definition of a type, as a client sends it: checked, brought into one form, compared.
 */
#ifndef HEAPD_DAEMON_TYPEDEFINITION_H
#define HEAPD_DAEMON_TYPEDEFINITION_H

#include <stdint.h>

#include "heapd/message.h"
#include "heapd/span.h"
#include "refusal.h"

#define TYPEDEFINITION_MAP_WORDS 64u /* of a message */

struct typedefinition {
	char name[HEAPD_NAME_MAX];
	uint32_t size, align, flags, flex_at, flex_elem;
	uint32_t map_bits;  /* 0: there is no map */
	uint32_t map_words; /* that hold them */
	uint64_t map[TYPEDEFINITION_MAP_WORDS];
};

/* Reads a request, which may hold anything; max_size: what an object may have at most. */
int typedefinition_read(struct typedefinition *def, const struct heapd_type_request *request,
			uint64_t max_size, struct refusal *why);

/* 0 if the record says the same, or -EEXIST and what differs. map: the record's. */
int typedefinition_compare(const struct typedefinition *def, const struct heapd_type_record *record,
			   const uint64_t *map, struct refusal *why);

/* Fills the record, but for the map's place, classes and state. */
void typedefinition_write(const struct typedefinition *def, struct heapd_type_record *record);

#endif
