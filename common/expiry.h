/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_EXPIRY_H
#define VMTAP_COMMON_EXPIRY_H

#include <time.h>

/* Whether and how loud it is said that a certificate ends: as information from 30 days before, as a warning from 7, as an error on
 * the last day and after it. */
enum expiry_level { EXPIRY_FAR, EXPIRY_INFO, EXPIRY_WARN, EXPIRY_ERROR };
enum expiry_level expiry_level(time_t not_after, time_t now);

/* Zeroed: nothing was said. */
struct expiry {
	time_t	said;
	enum expiry_level level;
};
/* To be called now and then: says it in the log once a day, and when it becomes more urgent. name: the certificate's file;
 * consequence: "without a new one no collector will talk to this agent". Returns what was said, EXPIRY_FAR if nothing. */
enum expiry_level expiry_warn(struct expiry *, const char *name, const char *consequence, time_t not_after, time_t now);

#endif
