/* SPDX-License-Identifier: MIT */
/*
 * conditions.h - what a process can be brought into before its operation, beyond what operations.h has: attached otherwise,
 * its daemon away, watched by a probe.
 */
#ifndef HEAPD_CRASH_CONDITIONS_H
#define HEAPD_CRASH_CONDITIONS_H

#include "operations.h"

/* Attached and detached again, if it can be. */
void try_attach(struct scene *s, uint32_t flags);

/* A node that leads on, and two others: what most operations work on. */
void prepare_fields(struct scene *s);

/* Operations of several files: a child that ends at once, a thread that does; each is waited for. */
void fork_and_wait(struct scene *s);
void child_allocates(struct scene *s); /* and goes on; its parent ends after it */
void *ended_at_once(void *arg);
void thread_come_and_go(struct scene *s);

/* As many threads as the session has room for, or pins; the next one has to ask for more. */
void prepare_threads(struct scene *s);
void prepare_pins(struct scene *s);

/* A thread that has been scanned, in a cycle that does not go on; it has a weak cell. */
void prepare_weak_scanned(struct scene *s);
void *wait_here(void *scene);

/* Each call of the library's, by whoever may not make it. */
void call_objects(struct scene *s);
void call_others(struct scene *s);

/* Detached. */
void prepare_detached(struct scene *s);
/* Attached anew, with options. */
void attach_anew(struct scene *s, const struct heapd_options *options);
/* To another heap: of the scene nothing is there. flags: HEAPD_ATTACH_*. */
void attach_other(struct scene *s, const char *name, uint32_t flags);
/* With short times to wait, by a socket's name that is this process's own. */
void prepare_impatient(struct scene *s);
/* The same, by one that has no function for reports: they are written, to nowhere. */
void prepare_writing(struct scene *s);
/* The same, with the daemon away, and no way back. */
void prepare_absent(struct scene *s);
/* Read-only. */
void prepare_reader(struct scene *s);

/* The daemon's sockets have ended for this process. Where the name is gone, too, it does not come back. */
void sockets_end(void);
void name_remove(const struct scene *s);
void name_make(const struct scene *s);
/* Another daemon has the name, which does not know this process: its socket's name is in the environment. */
#define CONDITIONS_OTHER "HEAPD_CRASH_OTHER"
void name_elsewhere(const struct scene *s);

/* Somebody looks at each of the library's probes; so many do. */
void probes_on(void);
void probes_set(unsigned short lookers);

/* The calling thread's record. */
struct heapd_thread *record_here(void);

/* So many of the thread's places for spares are taken. */
void spares_fill(struct scene *s, unsigned wanted);

#endif
