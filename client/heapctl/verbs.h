/* SPDX-License-Identifier: MIT */
/*
 * verbs.h - what heapctl can be told to do. Each returns an exit status.
 */
#ifndef HEAPCTL_VERBS_H
#define HEAPCTL_VERBS_H

#include "ctl.h"

/* state.c */
int verb_status(struct ctl *ctl);
int verb_list(struct ctl *ctl);
int verb_roots(struct ctl *ctl);
/* clients.c */
int verb_clients(struct ctl *ctl);
/* users.c */
int verb_users(struct ctl *ctl);
/* receipts.c */
int verb_receipts(struct ctl *ctl);
/* memory.c */
int verb_classes(struct ctl *ctl);
int verb_types(struct ctl *ctl);
int verb_spans(struct ctl *ctl);
/* control.c */
int verb_config(struct ctl *ctl);
int verb_verify(struct ctl *ctl);
/* cycles.c */
int verb_gc(struct ctl *ctl);
int verb_log(struct ctl *ctl);
int verb_trace(struct ctl *ctl);
/* leaks.c */
int verb_leaks(struct ctl *ctl);
/* live.c */
int verb_stat(struct ctl *ctl);
int verb_top(struct ctl *ctl);
int verb_events(struct ctl *ctl);
/* histo.c */
int verb_histo(struct ctl *ctl);
/* objects.c */
int verb_retained(struct ctl *ctl);
int verb_why(struct ctl *ctl);
int verb_who(struct ctl *ctl);
int verb_dot(struct ctl *ctl);
/* profile.c */
int verb_profile(struct ctl *ctl);
int verb_diff(struct ctl *ctl);
/* snapshot.c */
int verb_snapshot(struct ctl *ctl);
/* picture.c */
int verb_map(struct ctl *ctl);

#endif
