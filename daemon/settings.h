/* SPDX-License-Identifier: MIT */
/*
 * settings.h - what can be asked about a heap by name, and what can be changed: HEAPD_OP_GET and _SET.
 */
#ifndef HEAPD_DAEMON_SETTINGS_H
#define HEAPD_DAEMON_SETTINGS_H

#include "heapd/message.h"
#include "refusal.h"
#include "sessions.h"

int settings_get(const struct session *session, struct heapd_setting *setting, struct refusal *why);
int settings_set(const struct session *session, const struct heapd_setting *setting, struct refusal *why);

#endif
