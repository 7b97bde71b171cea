/* SPDX-License-Identifier: MIT */
/*
 * pprof.h - profiles in pprof's format: made of samples, written, and read again.
 */
#ifndef HEAPCTL_PPROF_H
#define HEAPCTL_PPROF_H

#include "processes.h"
#include "profile.pb-c.h"
#include "samples.h"

/* Places of a sample's values. */
enum pprof_value {
	PPROF_ALLOC_OBJECTS,
	PPROF_ALLOC_SPACE,
	PPROF_INUSE_OBJECTS,
	PPROF_INUSE_SPACE,
	PPROF_VALUES,
};

struct pprof_time {
	uint64_t began; /* CLOCK_REALTIME, ns */
	uint64_t took;  /* ns */
};

/* NULL: no memory. A sample for each object that lives, labelled with its address, and one for what is gone of each stack. */
Pprof__Profile *pprof_make(const struct samples *samples, const struct processes *processes,
			   struct pprof_time time);
void pprof_free(Pprof__Profile *profile);

/* With gzip, as go tool pprof has it. An exit status, after saying why. */
int pprof_write(const Pprof__Profile *profile, const char *path);
int pprof_read(Pprof__Profile **profile, const char *path);

/* Never NULL: "" for what is not there. A file may say anything. */
const char *pprof_string(const Pprof__Profile *profile, int64_t index);
const Pprof__Location *pprof_location(const Pprof__Profile *profile, uint64_t id);
const Pprof__Function *pprof_function(const Pprof__Profile *profile, uint64_t id);
int64_t pprof_value(const Pprof__Sample *sample, enum pprof_value value);
/* The number of the sample's label of that name; false: it has none. */
bool pprof_label(const Pprof__Profile *profile, const Pprof__Sample *sample, const char *key,
		 int64_t *number);

/* The samples that are of one object, by its address. */
struct pprof_object {
	uint64_t address;
	const Pprof__Sample *sample;
};
struct pprof_objects {
	struct pprof_object *list;
	size_t n;
};

/* An exit status; the profile must outlive them. */
int pprof_objects_find(struct pprof_objects *objects, const Pprof__Profile *profile);
void pprof_objects_free(struct pprof_objects *objects);
/* NULL: there is none of that object. */
const Pprof__Sample *pprof_objects_at(const struct pprof_objects *objects, uint64_t address);

#endif
