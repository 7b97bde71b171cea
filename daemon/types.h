/* SPDX-License-Identifier: MIT */
/*
 * types.h - the types and classes of a heap: the records of the directory, and who makes them.
 *
 * The main thread alone makes records. Any thread, and any client, reads them: types below ntypes (acquire),
 * classes whose kind (acquire) is not 0. A record in use never changes, but for array_class[] and
 * flex_class[] of a type, which go from 0 to their class (release).
 */
#ifndef HEAPD_DAEMON_TYPES_H
#define HEAPD_DAEMON_TYPES_H

#include <stdbool.h>
#include <stdint.h>

#include "heap.h"
#include "heapd/message.h"
#include "refusal.h"

/* Makes the built-in types and their classes, in a heap that has none. */
int types_init(struct heap *heap);
void types_deinit(struct heap *heap);

/*
 * The type of this definition, made if the name is new and it may be made; -EEXIST if the name stands for
 * another definition, -EROFS if it would have to be made.
 */
int types_define(struct heap *heap, const struct heapd_type_request *request, bool may_make,
		 struct heapd_type_reply *reply, struct refusal *why);

/* The class for objects of that kind and size class, made if it may be. */
int types_class(struct heap *heap, const struct heapd_class_request *request, bool may_make, uint32_t *class,
		struct refusal *why);

/* NULL if there is no such type, or class. */
const struct heapd_type_record *types_record(const struct heap *heap, uint32_t type);
const struct heapd_class *types_class_record(const struct heap *heap, uint32_t class);

/* What the slots of one object of a type are apart, and the pages of the smallest span of such slots. */
uint64_t types_slot_size(uint32_t size, uint32_t align);
uint32_t types_span_pages(uint32_t slot_size);

#endif
