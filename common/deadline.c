/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/timerfd.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/deadline.h"

#define NS_PER_S	1000000000u

struct deadline {
	struct event	*event;
	int		 fd;		/* timerfd; -1: the event is a timer of its own */
	uint64_t	 until_ns;	/* of that */
	void		(*passed)(void *);
	void		*arg;
};

static void
set_timer(struct deadline *deadline, uint64_t boot_ns)
{
	uint64_t now_ns = clock_boot_ns(), left_us = boot_ns > now_ns ? (boot_ns - now_ns) / 1000 + 1 : 0;
	struct timeval tv = { .tv_sec = (time_t)(left_us / 1000000), .tv_usec = (suseconds_t)(left_us % 1000000) };

	deadline->until_ns = boot_ns;
	event_del(deadline->event);
	if (boot_ns != 0)
		event_add(deadline->event, &tv);
}

/* libevent's clock is a coarse one, so that its timers may be some milliseconds early. */
static void
deadline_passed(evutil_socket_t fd, short what, void *arg)
{
	struct deadline *deadline = arg;
	uint64_t times;

	(void)what;
	if (fd != -1 && read(fd, &times, sizeof(times)) != (ssize_t)sizeof(times))
		return;		/* it was set anew meanwhile */
	if (fd == -1 && clock_boot_ns() < deadline->until_ns) {
		set_timer(deadline, deadline->until_ns);
		return;
	}
	deadline->passed(deadline->arg);
}

struct deadline *
deadline_new(struct event_base *base, void (*passed)(void *), void *arg)
{
	struct deadline *deadline = calloc(1, sizeof(*deadline));

	if (deadline == NULL)
		return NULL;
	deadline->passed = passed;
	deadline->arg = arg;
	deadline->fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	deadline->event = event_new(base, deadline->fd, deadline->fd != -1 ? EV_READ | EV_PERSIST : 0, deadline_passed, deadline);
	if (deadline->event == NULL || (deadline->fd != -1 && event_add(deadline->event, NULL) == -1)) {
		deadline_free(deadline);
		errno = ENOMEM;
		return NULL;
	}
	return deadline;
}

void
deadline_set(struct deadline *deadline, uint64_t boot_ns)
{
	struct itimerspec when;

	if (deadline->fd == -1) {
		set_timer(deadline, boot_ns);
		return;
	}
	memset(&when, 0, sizeof(when));
	when.it_value.tv_sec = (time_t)(boot_ns / NS_PER_S);
	when.it_value.tv_nsec = (long)(boot_ns % NS_PER_S);
	(void)timerfd_settime(deadline->fd, TFD_TIMER_ABSTIME, &when, NULL);
}

void
deadline_free(struct deadline *deadline)
{
	if (deadline == NULL)
		return;
	if (deadline->event != NULL)
		event_free(deadline->event);
	if (deadline->fd != -1)
		close(deadline->fd);
	free(deadline);
}
