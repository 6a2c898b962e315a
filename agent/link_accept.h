/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_ACCEPT_H
#define VMTAP_AGENT_LINK_ACCEPT_H

#include <sys/socket.h>
#include <stdbool.h>

struct conf_list;
struct link;

/*
 * The listening sockets of one option, as the supervisor handed them over. They accept while may() says so, which is asked by
 * acceptor_check(), and not for a second after accept(2) failed: no descriptors, no memory.
 */
struct acceptor;
struct acceptor_callbacks {
	bool	(*may)(void *arg);
	void	(*came)(int fd, const struct sockaddr *, int len, void *arg);	/* takes fd, which has the listening socket's mark */
};
/* One socket for each value, from first_fd on; never NULL: fatal(). */
struct acceptor	*acceptor_new(struct link *, const char *option, const struct conf_list *, int first_fd,
		    const struct acceptor_callbacks *, void *arg);
void		 acceptor_check(struct acceptor *);	/* may() may say something else now */
void		 acceptor_free(struct acceptor *);	/* NULL is fine */

#endif
