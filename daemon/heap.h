/* SPDX-License-Identifier: MIT */
/*
 * heap.h - one heap: its memory files, where they are mapped, and what belongs to it.
 *
 * Made by the main thread before the heap's supplier starts, ended after it stopped. In between:
 *   name, account, log, geometry, t, descriptors, ledger_memory, adopted   constant, any thread
 *   part             as account.h says
 *   config           the main thread alone; NULL once the heap is no longer configured
 *   what t reaches   directory: written by the daemon alone, each table as its own header says
 *   clients, ledger, pages, spans, supply, receipts   under lock
 *   types, roots     the main thread writes; others read what the directory shows of them
 * No client can hold the lock, and nobody waits for a client while holding it.
 */
#ifndef HEAPD_DAEMON_HEAP_H
#define HEAPD_DAEMON_HEAP_H

#include <pthread.h>
#include <stdint.h>

#include "account.h"
#include "beat.h"
#include "bus.h"
#include "config.h"
#include "heapd/geometry.h"
#include "log.h"
#include "punch.h"

struct heap {
	char name[HEAPD_NAME_MAX];
	const struct config_heap *config;
	struct log *log;
	struct account *account;
	struct account_part part; /* of it */

	struct heapd_geometry geometry;
	struct heapd_tables t;
	int heap_fd, heap_ro_fd;
	int directory_fd, directory_ro_fd;
	int control_fd;
	int ledger_fd;
	void *ledger_memory;
	uint64_t ledger_bytes;
	uint64_t charged; /* taken from the account by heap_create() */
	bool adopted;     /* its memory was there before this daemon was */
	struct punch punch;
	struct bus bus;

	pthread_mutex_t lock;
	struct log_limit faults, settings_set, refused, overwritten, failed; /* lines that requests cause */
	struct log_limit held; /* the scavenger's: a client holds the memory file */
	uint64_t heavy_until;  /* the main thread's: when requests that cost much are answered again */
	uint64_t large_until;  /* and large objects; never later */
	uint32_t user_share; /* percent of the limit that is kept for a user; by heap_set_share(), as the next */
	uint32_t newcomers;                       /* for so many besides those who are there */
	uint32_t waiting;                         /* threads in heap_lock(); atomic */
	struct beat supply_beat, collection_beat; /* of the supplier; of the collector */
	struct beat walk_beat; /* of whoever goes through the whole heap with its lock held; only counts */
	struct clients *clients;
	struct marks *marks;
	struct collection *collection;
	struct ledger *ledger;
	struct pages *pages;
	struct spans *spans;
	struct types *types;
	struct supply *supply;
	struct roots *roots;
	struct deads *deads;
	struct receipts *receipts;
	struct collector *collector;
	struct scavenger *scavenger;
};

/* Memory files of a heap that an earlier daemon made. */
struct heap_files {
	int heap, directory, control, ledger;
};

/* What heap_create() is told. */
struct heap_plan {
	const struct config_heap *config;
	struct heapd_geometry geometry; /* of heap_plan() */
	uint64_t ledger_bytes;
	uint64_t base; /* where an automatic base is looked for first; see heap_next_base() */
	struct account *account;
	struct log *log;
	bool hugetlb;                   /* an adopted heap is */
	const struct heap_files *files; /* NULL, or the heap is adopted: geometry and base are its own */
};

/* The geometry of a heap of this configuration on this machine; -EINVAL, logged, if there cannot be one. */
int heap_geometry(const struct config_heap *config, struct log *log, struct heapd_geometry *geometry);

/* Addresses that nothing else of this process may have. 0, -EEXIST if something lies there, or another -errno. */
int heap_reserve(uint64_t base, uint64_t bytes);
void heap_unreserve(uint64_t base, uint64_t bytes);

/* Makes all memory of the heap, or takes the files over, and maps it; logs what went wrong. */
int heap_create(const struct heap_plan *plan, struct heap **heap);
void heap_destroy(struct heap *heap);

/*
 * What is handed out for reading, where it is not open yet. -EAGAIN: somebody has a lease on it, as the daemon's own user can,
 * which the kernel ends after a while; nobody who is there waits for that.
 */
int heap_open_readonly(struct heap *heap);

/* Where automatic bases begin; and where to look for the next one. */
uint64_t heap_first_base(void);
uint64_t heap_next_base(const struct heap *heap);

/* What the heap may commit: stats.limit of the directory. Written by the main thread, read by any. */
void heap_set_limit(struct heap *heap, uint64_t limit);
uint64_t heap_limit(const struct heap *heap);
/* What is kept of that for each user, as the configuration says. The main thread's; any may read. */
void heap_set_share(struct heap *heap, const struct config_heap *config);
/* What keeps it from so many bytes more: the option that would have to be raised, and what may be committed, of this heap or of all. */
const char *heap_bound(struct heap *heap, uint64_t more, uint64_t *bytes);

/*
 * For all threads but the supplier, which takes and leaves the lock so often that, as locks are, nobody else would
 * come to it: it gives way to whoever waits in here.
 */
void heap_lock(struct heap *heap);
void heap_unlock(struct heap *heap);
void heap_give_way(struct heap *heap);

/* Memory beside the objects, such as a session's, which is small (account.h): in the account and in the statistics. Any thread. */
int heap_charge_minor(struct heap *heap, uint64_t bytes);
/* What is there already, whatever may be. */
void heap_force(struct heap *heap, uint64_t bytes);
void heap_refund(struct heap *heap, uint64_t bytes);

#endif
