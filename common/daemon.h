/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_DAEMON_H
#define VMTAP_COMMON_DAEMON_H

#include <stddef.h>
#include <stdint.h>

#define DAEMON_ERROR_SIZE	256

/*
 * Goes to the background in two steps, so that the command's exit status tells whether the service started.
 * daemon_detach() returns in a child of a new session; the command itself stays until the child calls daemon_ready() (then it
 * exits with 0) or ends (then with the child's status). daemon_ready() puts /dev/null on 0, 1 and 2; without daemon_detach() it
 * does nothing.
 * The working directory stays, since options may name files relative to it. -1 with errno.
 */
int	daemon_detach(void);
int	daemon_ready(void);

/*
 * The file holds the pid, and an exclusive lock that lasts as long as the descriptor (not across exec), so a file that a crash left
 * behind is taken over. Returns the descriptor, or -1 with one line, with the pid of the process that runs already.
 */
int	daemon_pidfile_write(const char *path, char error[DAEMON_ERROR_SIZE]);
void	daemon_pidfile_remove(const char *path, int fd);	/* fd -1: does nothing */

/* "READY=1" and the like to the service manager, as sd_notify(3); without one ($NOTIFY_SOCKET) nothing happens. -1 with errno. */
int	daemon_notify(const char *state);
/* "RELOADING=1"; "READY=1" is told when it is done. Likewise. */
int	daemon_notify_reloading(void);
/* The service manager wants to hear "WATCHDOG=1" from this process within twice this time ($WATCHDOG_USEC); 0: it does not. */
uint64_t daemon_watchdog_ms(void);

#endif
