/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/timerfd.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/clockwatch.h"

#define FAR_S	(10 * 365 * 86400)	/* the timer itself is not meant to pass */

struct clockwatch {
	struct event	*event;
	int		 fd;
	void		(*stepped)(void *);
	void		*arg;
};

static int
arm(const struct clockwatch *w)
{
	struct itimerspec far = { .it_value.tv_sec = time(NULL) + FAR_S };

	return timerfd_settime(w->fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &far, NULL);
}

/* ECANCELED is what a step reads as; it must be armed anew for the next. */
static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct clockwatch *w = arg;
	uint64_t times;

	(void)what;
	if (read(fd, &times, sizeof(times)) == -1 && errno == EAGAIN)
		return;
	if (arm(w) == -1)
		event_del(w->event);
	w->stepped(w->arg);
}

struct clockwatch *
clockwatch_new(struct event_base *base, void (*stepped)(void *), void *arg)
{
	struct clockwatch *w = calloc(1, sizeof(*w));
	int saved;

	if (w == NULL)
		return NULL;
	w->stepped = stepped;
	w->arg = arg;
	if ((w->fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC)) != -1 && arm(w) == 0 &&
	    (w->event = event_new(base, w->fd, EV_READ | EV_PERSIST, on_readable, w)) != NULL && event_add(w->event, NULL) == 0)
		return w;
	saved = errno;
	clockwatch_free(w);
	errno = saved;
	return NULL;
}

void
clockwatch_free(struct clockwatch *w)
{
	if (w == NULL)
		return;
	if (w->event != NULL)
		event_free(w->event);
	if (w->fd != -1)
		close(w->fd);
	free(w);
}
