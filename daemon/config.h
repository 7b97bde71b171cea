/* SPDX-License-Identifier: MIT */
/*
 * config.h - what heapd was told to be: its file, drop-ins and overrides, checked and resolved.
 *
 * In this order: config_init(), config_load(), config_override() for each --set, config_check(); whatever
 * failed, config_free() afterwards. Nothing here changes later; to reload, make a second struct config.
 * heapd.conf(5) says what the options mean; the table in configtable.c what they are.
 */
#ifndef HEAPD_DAEMON_CONFIG_H
#define HEAPD_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "heapd/layout.h"
#include "ids.h"
#include "log.h"
#include "value.h"

#ifndef CONFIG_FILE
#define CONFIG_FILE "/etc/heapd/heapd.conf"
#endif

#define CONFIG_HEAPS_MAX    256
#define CONFIG_OPTIONS_MAX  48 /* of both sections together */
#define CONFIG_PERCENT_MAX  10000
#define CONFIG_SECONDS_MAX  86400
#define CONFIG_MARKERS_MAX  64
#define CONFIG_SHARE_MAX    50         /* percent: more cannot be kept for two */
#define CONFIG_NOBODY       UINT32_MAX /* an owner or group that is nobody's */
#define CONFIG_PERCENT_AUTO UINT32_MAX /* the collector chooses (pacer.h) */

enum config_section { CONFIG_DAEMON, CONFIG_HEAP };
enum config_huge { CONFIG_HUGE_AUTO, CONFIG_HUGE_NEVER, CONFIG_HUGE_HUGETLB };
enum config_stall { CONFIG_STALL_WAIT, CONFIG_STALL_EVICT };
enum config_free { CONFIG_FREE_PROMPT, CONFIG_FREE_CHECKED };
/* The bits of a mode, as with files. To administer: set settings, and have the heap verified. */
enum config_right { CONFIG_READ = 4, CONFIG_WRITE = 2, CONFIG_ADMINISTER = 1 };
enum config_access { CONFIG_ACCESS_NONE, CONFIG_ACCESS_READ, CONFIG_ACCESS_WRITE };

struct config_ids {
	struct ids users, groups;
};

/* Where an option was set; file is NULL if it was not. Line 0: the file as a whole, or the command line. */
struct config_place {
	const char *file; /* owned by the struct config */
	unsigned line;
};

struct config_heap {
	char name[HEAPD_NAME_MAX];
	uint64_t size;  /* bytes of address space, a multiple of 64 MiB */
	uint64_t limit; /* bytes that may be committed; config_check() sets it if a percentage was given */
	unsigned limit_percent; /* of the machine's memory; 0: limit was given in bytes */
	uint64_t base;          /* 0: the daemon chooses */
	enum config_huge huge;
	uint32_t owner, group; /* or CONFIG_NOBODY: of the daemon's user alone */
	mode_t mode;
	struct config_ids allow, readonly;
	unsigned gc_percent;           /* or CONFIG_PERCENT_AUTO; 0: collection is off */
	unsigned user_share;           /* percent of the limit that is kept for each user; 0: none is */
	uint64_t memory_limit;         /* bytes that the collector tries to keep below; 0: the limit */
	unsigned memory_limit_percent; /* of limit; 0: memory_limit was given in bytes */
	unsigned gc_interval;          /* seconds; 0: never for that reason */
	unsigned stall_timeout;        /* seconds */
	enum config_stall stall_action;
	unsigned marker_threads;
	enum config_free free_mode;
	unsigned debug;    /* HEAPD_DEBUG_* of phase.h, but for ... */
	unsigned hardened; /* ... HEAPD_DEBUG_HARDENED: whether it is */
	struct config_place set[CONFIG_OPTIONS_MAX];
};

struct config {
	char socket[108];
	mode_t socket_mode;
	int log_level;
	enum log_target log_target;
	unsigned max_sessions, max_sessions_per_uid, max_threads_per_uid;
	uint64_t max_bytes_per_uid; /* of the memory of its sessions */
	unsigned heap_share;        /* percent of what there is that is kept for each heap; 0: nothing is */
	struct config_heap *heaps;  /* in the order in which they were first named */
	size_t nheaps;
	struct config_place set[CONFIG_OPTIONS_MAX];
	char **files;
	size_t nfiles;
};

struct config_error {
	char text[768];
};

/* Called for each mistake, LOG_ERR or LOG_WARNING; line 0 means the file as a whole. */
typedef void (*config_report)(void *arg, int priority, const char *file, unsigned line, const char *text);

/* A config_report that writes "FILE:LINE: text" to a struct log. */
void config_report_log(void *log, int priority, const char *file, unsigned line, const char *text);

int config_init(struct config *cfg);
void config_free(struct config *cfg);

/*
 * Reads the file, then FILE.d/ *.conf in the order of their names' bytes. A file that is not required may be
 * missing. Reports all mistakes; -EINVAL if there was an error among them.
 */
int config_load(struct config *cfg, const char *path, bool required, config_report report, void *arg);

/*
 * "daemon.socket=/run/x" or "heap.NAME.size=1G", capital or not; the last dot before the = ends the heap's
 * name. Means what a last drop-in with this one line would: a list grows, an empty value resets.
 */
int config_override(struct config *cfg, const char *assignment, struct config_error *err);

/*
 * Adds the heap 'default' if there is none, turns percentages into bytes and compares options with each
 * other; -EINVAL if they do not fit.
 */
int config_check(struct config *cfg, config_report report, void *arg);

/* Prints a file that config_load() reads back to the same. Users and groups are printed as numbers. */
int config_dump(const struct config *cfg, FILE *f);

/* Root and the user that the daemon runs as are in every list. */
bool config_ids_match(const struct config_ids *ids, uid_t uid, const gid_t *gids, size_t ngids);
enum config_access config_heap_access(const struct config_heap *heap, uid_t uid, const gid_t *gids,
				      size_t ngids);
/* The bits of enum config_right. */
unsigned config_heap_rights(const struct config_heap *heap, uid_t uid, const gid_t *gids, size_t ngids);
bool config_others_may_write(const struct config_heap *heap);
/* Whether this process may end all that write the heap: those of other users only with CAP_KILL. */
bool config_may_evict(const struct config_heap *heap);
/* All of HEAPD_DEBUG_*. */
unsigned config_heap_debug(const struct config_heap *heap);
const struct config_heap *config_find_heap(const struct config *cfg, const char *name);

/* One row of the table. */
struct config_option {
	enum config_section section;
	bool is_list;
	const char *key;
	const char *standard; /* the default, as it would be written */
	const char *example;
	int (*parse)(const struct config_option *option, const char *text, void *object,
		     struct value_error *err);
	void (*print)(const struct config_option *option, const void *object, FILE *f);
	size_t offset; /* of the field in struct config or struct config_heap */
	uint64_t min, max;
	const struct value_word *words;
};

extern const struct value_word config_percent_words[], config_stall_words[], config_free_words[],
	config_debug_words[];

/* The table's rows from 0 on, then NULL: for documentation and tests. */
const struct config_option *config_option_at(size_t i);

/* From here on: what config*.c share, and nobody else needs. */

/* The last page of x86-64's lower half is never usable; other machines have as much, or mmap() refuses. */
#define CONFIG_USER_END UINT64_C(0x7ffffffff000)

static inline size_t config_option_index(const struct config_option *o)
{
	return (size_t)(o - config_option_at(0));
}

/* The heap's index; it is made, with its defaults, if it is new. -E2BIG or -ENOMEM. Moves the heaps. */
int config_make_heap(struct config *cfg, const char *name);
void config_drop_last_heap(struct config *cfg);

/*
 * Gives one option of the object its value, or its default if the text is empty. -EINVAL with the message in
 * err, where the option goes by the name key; or -ENOMEM.
 */
int config_assign(const struct config_option *o, const char *key, const char *text, void *object,
		  struct config_error *err);

#endif
