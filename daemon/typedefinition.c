/* SPDX-License-Identifier: MIT */
/*
 * typedefinition.c - owns what a definition of a type may say, and when two say the same.
 *
 * Right because a definition that passed has one form only: what does not count (a map beside "every word" or
 * "no word", offsets of a flexible array that is not there) is refused or cleared, so that equal meaning is
 * equal bytes, and a pointer word never lies outside the object.
 */
#include "typedefinition.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define FLAGS_KNOWN   (HEAPD_TYPE_SCAN | HEAPD_TYPE_NOSCAN | HEAPD_TYPE_FLEX | HEAPD_TYPE_FLEX_PTRS)
#define FLAGS_MAPLESS (HEAPD_TYPE_SCAN | HEAPD_TYPE_NOSCAN)

static bool bit_at(const uint64_t *map, uint32_t i)
{
	return map[i / 64] >> (i % 64) & 1;
}

static int check_sizes(const struct typedefinition *def, uint64_t max_size, struct refusal *why)
{
	if (!def->size || def->size > max_size)
		return refuse(why, -EINVAL, "type '%s': size %u; give 1 to the heap's size", def->name,
			      def->size);
	if (def->align < 8 || def->align > 4096 || def->align & (def->align - 1))
		return refuse(why, -EINVAL, "type '%s': alignment %u; use a power of two from 8 to 4096",
			      def->name, def->align);
	return 0;
}

static int check_flags(const struct typedefinition *def, struct refusal *why)
{
	uint32_t flags = def->flags;

	if (flags & ~FLAGS_KNOWN)
		return refuse(why, -EINVAL,
			      "type '%s': unknown flags 0x%x; use HEAPD_TYPE_* of the daemon's build",
			      def->name, flags & ~FLAGS_KNOWN);
	if ((flags & FLAGS_MAPLESS) == FLAGS_MAPLESS)
		return refuse(why, -EINVAL,
			      "type '%s': has both every word and no word for a pointer; drop one flag",
			      def->name);
	if (flags & HEAPD_TYPE_FLEX_PTRS && !(flags & HEAPD_TYPE_FLEX))
		return refuse(
			why, -EINVAL,
			"type '%s': has pointers in a flexible array that it does not have; add HEAPD_TYPE_FLEX",
			def->name);
	if (flags & HEAPD_TYPE_FLEX_PTRS && flags & HEAPD_TYPE_NOSCAN)
		return refuse(why, -EINVAL,
			      "type '%s': has no pointers, yet a flexible array of pointers; drop one flag",
			      def->name);
	return 0;
}

static int check_flex(const struct typedefinition *def, struct refusal *why)
{
	bool pointers = def->flags & HEAPD_TYPE_FLEX_PTRS;

	if (!(def->flags & HEAPD_TYPE_FLEX)) {
		if (def->flex_at || def->flex_elem)
			return refuse(
				why, -EINVAL,
				"type '%s': places a flexible array that it does not have; add HEAPD_TYPE_FLEX",
				def->name);
		return 0;
	}
	if (def->flex_at > def->size)
		return refuse(
			why, -EINVAL,
			"type '%s': its flexible array begins at %u, after its end at %u; give a place inside it",
			def->name, def->flex_at, def->size);
	if (!def->flex_elem || def->flex_elem > HEAPD_SMALL_MAX)
		return refuse(why, -EINVAL, "type '%s': elements of %u bytes; use 1 to %u", def->name,
			      def->flex_elem, HEAPD_SMALL_MAX);
	if (pointers && (def->flex_elem != 8 || def->flex_at % 8))
		return refuse(
			why, -EINVAL,
			"type '%s': pointers in its flexible array are no aligned words; use elements of 8 bytes on an 8-byte boundary",
			def->name);
	return 0;
}

/* Words of the object that the map can speak of. */
static uint32_t map_bits_of(const struct typedefinition *def)
{
	uint32_t words = def->size / 8;

	if (def->flags & FLAGS_MAPLESS)
		return 0;
	return words < 64 * TYPEDEFINITION_MAP_WORDS ? words : 64 * TYPEDEFINITION_MAP_WORDS;
}

static int read_map(struct typedefinition *def, const struct heapd_type_request *request, struct refusal *why)
{
	uint32_t sent = request->map_bits;

	if (sent > 64 * TYPEDEFINITION_MAP_WORDS)
		return refuse(why, -EINVAL, "type '%s': a map of %u words; send at most %u", def->name, sent,
			      64 * TYPEDEFINITION_MAP_WORDS);
	def->map_bits = map_bits_of(def);
	def->map_words = (def->map_bits + 63) / 64;
	for (uint32_t i = 0; i < sent; i++) {
		if (!bit_at(request->map, i))
			continue;
		if (i >= def->map_bits)
			return refuse(why, -EINVAL, "type '%s': a pointer at offset %u, %s", def->name, 8 * i,
				      def->flags & FLAGS_MAPLESS
					      ? "though it has no map; drop the fields, or the flag"
					      : "which is not inside it; name fields of it");
		def->map[i / 64] |= 1ull << (i % 64);
	}
	return 0;
}

int typedefinition_read(struct typedefinition *def, const struct heapd_type_request *request,
			uint64_t max_size, struct refusal *why)
{
	int r;

	r = refuse_name(why, "type", request->name, sizeof(request->name));
	if (r < 0)
		return r;
	if (request->name[0] == '(')
		return refuse(why, -EINVAL,
			      "type '%s': names in parentheses are those of the built-in types; use another",
			      request->name);
	*def = (struct typedefinition){
		.size = request->size,
		.align = request->align,
		.flags = request->flags,
		.flex_at = request->flex_at,
		.flex_elem = request->flex_elem,
	};
	memcpy(def->name, request->name, strlen(request->name));
	r = check_sizes(def, max_size, why);
	if (r == 0)
		r = check_flags(def, why);
	if (r == 0)
		r = check_flex(def, why);
	if (r == 0)
		r = read_map(def, request, why);
	return r;
}

static const char *pointers_of(uint32_t flags)
{
	if (flags & HEAPD_TYPE_SCAN)
		return "any word may be a pointer";
	return flags & HEAPD_TYPE_NOSCAN ? "no word is a pointer" : "the fields named are pointers";
}

static const char *flex_of(uint32_t flags)
{
	if (!(flags & HEAPD_TYPE_FLEX))
		return "no flexible array";
	return flags & HEAPD_TYPE_FLEX_PTRS ? "a flexible array of pointers" : "a flexible array of bytes";
}

static int differ(struct refusal *why, const char *name, const char *what, uint32_t there, uint32_t here)
{
	return refuse(
		why, -EEXIST,
		"type '%s' is defined already, and differs: %s %u there, %u here; define it as there, or use another name",
		name, what, there, here);
}

static int compare_flags(const struct typedefinition *def, uint32_t there, struct refusal *why)
{
	uint32_t changed = def->flags ^ there;

	if (changed & FLAGS_MAPLESS)
		return refuse(
			why, -EEXIST,
			"type '%s' is defined already, and differs: %s there, %s here; define it as there, or use another name",
			def->name, pointers_of(there), pointers_of(def->flags));
	if (changed)
		return refuse(
			why, -EEXIST,
			"type '%s' is defined already, and differs: %s there, %s here; define it as there, or use another name",
			def->name, flex_of(there), flex_of(def->flags));
	return 0;
}

/* Sizes are known to be equal, so both have as many bits. */
static int compare_maps(const struct typedefinition *def, const uint64_t *map, struct refusal *why)
{
	for (uint32_t i = 0; i < def->map_bits; i++) {
		if (bit_at(def->map, i) == bit_at(map, i))
			continue;
		return refuse(
			why, -EEXIST,
			"type '%s' is defined already, and differs: the word at offset %u is %s there, %s here; define it as there, or use another name",
			def->name, 8 * i, bit_at(map, i) ? "a pointer" : "none",
			bit_at(def->map, i) ? "a pointer" : "none");
	}
	return 0;
}

int typedefinition_compare(const struct typedefinition *def, const struct heapd_type_record *record,
			   const uint64_t *map, struct refusal *why)
{
	int r;

	if (def->size != record->size)
		return differ(why, def->name, "size", record->size, def->size);
	if (def->align != record->align)
		return differ(why, def->name, "alignment", record->align, def->align);
	r = compare_flags(def, record->flags, why);
	if (r < 0)
		return r;
	if (def->flex_at != record->flex_at)
		return differ(why, def->name, "flexible array at", record->flex_at, def->flex_at);
	if (def->flex_elem != record->flex_elem)
		return differ(why, def->name, "elements of the flexible array of", record->flex_elem,
			      def->flex_elem);
	return compare_maps(def, map, why);
}

static uint64_t hash_words(uint64_t hash, const uint64_t *words, size_t n)
{
	const unsigned char *bytes = (const unsigned char *)words;

	for (size_t i = 0; i < n * sizeof(*words); i++)
		/* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): n is what was filled */
		hash = (hash ^ bytes[i]) * 0x100000001b3ull;
	return hash;
}

/* FNV-1a over all that counts but the name. */
static uint64_t hash_of(const struct typedefinition *def)
{
	const uint64_t words[] = { def->size, def->align, def->flags, def->flex_at, def->flex_elem };
	uint64_t hash = hash_words(0xcbf29ce484222325ull, words, sizeof(words) / sizeof(words[0]));

	return hash_words(hash, def->map, def->map_words);
}

void typedefinition_write(const struct typedefinition *def, struct heapd_type_record *record)
{
	*record = (struct heapd_type_record){
		.size = def->size,
		.align = def->align,
		.flags = def->flags,
		.flex_at = def->flex_at,
		.flex_elem = def->flex_elem,
		.map_bits = def->map_bits,
		.hash = hash_of(def),
	};
	memcpy(record->name, def->name, sizeof(record->name));
}
