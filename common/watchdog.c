/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>

#include "common/daemon.h"
#include "common/log.h"
#include "common/watchdog.h"

static void
watchdog_tell(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	if (daemon_notify("WATCHDOG=1") == -1)
		log_debug("cannot tell the service manager that the service is alive: %s", strerror(errno));
}

struct event *
watchdog_new(struct event_base *base)
{
	uint64_t ms = daemon_watchdog_ms();
	const struct timeval tv = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };
	struct event *event;

	errno = 0;
	if (ms == 0)
		return NULL;
	event = event_new(base, -1, EV_PERSIST, watchdog_tell, NULL);
	if (event != NULL && event_add(event, &tv) == 0)
		return event;
	if (event != NULL)
		event_free(event);
	errno = ENOMEM;
	return NULL;
}
