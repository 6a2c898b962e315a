/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_LOG_H
#define VMTAP_COMMON_LOG_H

#include <stddef.h>
#include <stdint.h>

/* Log lines go to stderr ("<priority>" before them when it is the journal's), or to syslog(3) after log_to_syslog().
 * A line is one write(2), so that lines of several processes and threads never mix. Control bytes are escaped. */
enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void	log_init(const char *identity, enum log_level);		/* identity: "vmtap-agent[capture]"; copied */
void	log_to_syslog(void);
void	log_set_level(enum log_level);
/* Text from outside, fit for a terminal: control bytes and what is no UTF-8, changes the direction of writing or cannot be seen as
 * \xNN, other UTF-8 as it is; cut with "..." if it does not fit dst_size (8 or
 * more). Returns its length. */
size_t	log_escape(char *dst, size_t dst_size, const char *text);

void	log_error(const char *, ...) __attribute__((format(printf, 1, 2)));
void	log_warn(const char *, ...) __attribute__((format(printf, 1, 2)));
void	log_info(const char *, ...) __attribute__((format(printf, 1, 2)));
void	log_debug(const char *, ...) __attribute__((format(printf, 1, 2)));
/* Only before service starts: one line, then exit status 1. Bad options use conf_usage() (status 2). */
void	fatal(const char *, ...) __attribute__((format(printf, 1, 2), noreturn));

/* At most one line in interval_ms from one struct; the next that passes says how many were held back. */
struct log_limit {
	uint64_t	next_ns;
	uint64_t	held_back;
};
void	log_limited(struct log_limit *, unsigned interval_ms, enum log_level, const char *, ...)
	    __attribute__((format(printf, 4, 5)));

#endif
