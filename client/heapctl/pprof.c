/* SPDX-License-Identifier: MIT */
/*
 * pprof.c - owns the files of profiles. What is read is a stranger's: protobuf-c checks its form, and indices are checked
 * where they are used.
 *
 * Lists are sorted by id in what heapctl writes; in others' a location is looked for.
 */
#include "pprof.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define READ_MOST (1u << 30) /* unpacked */

int pprof_write(const Pprof__Profile *profile, const char *path)
{
	size_t size = pprof__profile__get_packed_size(profile);
	uint8_t *bytes = malloc(size ? size : 1);
	gzFile f = bytes ? gzopen(path, "wbe") : NULL;
	bool failed = !f;

	if (!bytes)
		return ctl_say(CTL_TROUBLE, "out of memory");
	pprof__profile__pack(profile, bytes);
	for (size_t at = 0, n; f && at < size && !failed; at += n) {
		n = size - at < READ_MOST ? size - at : READ_MOST;
		failed = gzwrite(f, bytes + at, (unsigned)n) != (int)n;
	}
	if (f)
		failed |= gzclose(f) != Z_OK;
	free(bytes);
	return failed ? ctl_say(CTL_TROUBLE, "%s: %s", path, strerror(errno)) : CTL_OK;
}

static uint8_t *file_read(const char *path, size_t *size)
{
	gzFile f = gzopen(path, "rbe");
	uint8_t *bytes = NULL, *more;
	size_t room = 0;
	int n = 1;

	*size = 0;
	while (f && n > 0) {
		if (room - *size < 65536) {
			room = room ? room * 2 : 1 << 20;
			more = room <= READ_MOST ? realloc(bytes, room) : NULL;
			n = more ? n : -1;
			bytes = more ? more : bytes;
		}
		if (n > 0)
			n = gzread(f, bytes + *size, 65536);
		*size += n > 0 ? (size_t)n : 0;
	}
	if (f)
		gzclose(f);
	if (f && n == 0)
		return bytes;
	free(bytes);
	return NULL;
}

int pprof_read(Pprof__Profile **profile, const char *path)
{
	size_t size;
	uint8_t *bytes;

	errno = EINVAL;
	bytes = file_read(path, &size);
	*profile = bytes && size ? pprof__profile__unpack(NULL, size, bytes) : NULL;
	free(bytes);
	if (!*profile)
		return ctl_say(CTL_TROUBLE, "%s is no profile that can be read: %s", path,
			       bytes ? "it is not in pprof's format" : strerror(errno));
	return CTL_OK;
}

const char *pprof_string(const Pprof__Profile *p, int64_t index)
{
	return index >= 0 && (size_t)index < p->n_string_table && p->string_table[index]
		       ? p->string_table[index]
		       : "";
}

const Pprof__Location *pprof_location(const Pprof__Profile *p, uint64_t id)
{
	if (id && id <= p->n_location && p->location[id - 1]->id == id)
		return p->location[id - 1];
	for (size_t i = 0; i < p->n_location; i++)
		if (p->location[i]->id == id)
			return p->location[i];
	return NULL;
}

const Pprof__Function *pprof_function(const Pprof__Profile *p, uint64_t id)
{
	if (id && id <= p->n_function && p->function[id - 1]->id == id)
		return p->function[id - 1];
	for (size_t i = 0; i < p->n_function; i++)
		if (p->function[i]->id == id)
			return p->function[i];
	return NULL;
}

int64_t pprof_value(const Pprof__Sample *sample, enum pprof_value value)
{
	return (size_t)value < sample->n_value ? sample->value[value] : 0;
}

bool pprof_label(const Pprof__Profile *p, const Pprof__Sample *sample, const char *key, int64_t *number)
{
	for (size_t i = 0; i < sample->n_label; i++) {
		if (strcmp(pprof_string(p, sample->label[i]->key), key) != 0)
			continue;
		*number = sample->label[i]->num;
		return true;
	}
	return false;
}

static int compare_objects(const void *a, const void *b)
{
	const struct pprof_object *x = a, *y = b;

	return x->address < y->address ? -1 : x->address > y->address;
}

int pprof_objects_find(struct pprof_objects *objects, const Pprof__Profile *profile)
{
	*objects = (struct pprof_objects){ .list = calloc(profile->n_sample + 1, sizeof(*objects->list)) };
	if (!objects->list)
		return ctl_say(CTL_TROUBLE, "out of memory");
	for (size_t i = 0; i < profile->n_sample; i++) {
		int64_t address;

		if (pprof_label(profile, profile->sample[i], "address", &address))
			objects->list[objects->n++] =
				(struct pprof_object){ (uint64_t)address, profile->sample[i] };
	}
	qsort(objects->list, objects->n, sizeof(*objects->list), compare_objects);
	return CTL_OK;
}

void pprof_objects_free(struct pprof_objects *objects)
{
	free(objects->list);
	*objects = (struct pprof_objects){ 0 };
}

const Pprof__Sample *pprof_objects_at(const struct pprof_objects *objects, uint64_t address)
{
	struct pprof_object key = { .address = address }, *found;

	if (!objects->n)
		return NULL;
	found = bsearch(&key, objects->list, objects->n, sizeof(key), compare_objects);
	return found ? found->sample : NULL;
}
