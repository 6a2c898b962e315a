/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_TLS_LAB_H
#define VMTAP_TESTS_TLS_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <event2/event.h>

#include "common/tls.h"

/* Certificates, connections and peers for the tests of TLS. What fails in here fails the test. */

#define LAB_ALPN	"vmtap/1"

/* Two CAs, good and evil; each has col (collector; localhost, 127.0.0.1) and agents of acme: web1, old (expired),
 * young (not valid yet). */
void		 lab_open(void);
void		 lab_close(void);
const char	*lab_path(const char *ca, const char *file);	/* one of the last eight answers */
void		 lab_issue(const char *ca, const char *name, time_t not_before, time_t not_after);

/* Certificate and key of "ca/name", trusting trusted. */
struct tls_context *lab_context(const char *trusted, const char *ca, const char *name);
struct tls_context *lab_context_alpn(const char *trusted, const char *ca, const char *name, const char *alpn);

/* Two ends of a TCP connection on 127.0.0.1. */
void	lab_connect(int *client, int *server);

/* One tlsio in the test's loop, and what became of it. */
struct lab_end {
	struct tlsio	*t;
	unsigned	 opened, readable, writable, closed;
	char		 why[TLS_ERROR_SIZE];
	size_t		 got;			/* bytes taken from the input by lab_callbacks */
	void		(*on_opened)(struct lab_end *);
	void		(*on_readable)(struct lab_end *);	/* instead of taking all */
	void		(*on_writable)(struct lab_end *);
	void		(*on_closed)(struct lab_end *);
	void		*more;
};
extern const struct tlsio_callbacks lab_callbacks;
struct tlsio_options lab_options(enum tlsio_side);
void	lab_end_open(struct lab_end *, struct event_base *, struct tls_context *, int fd, enum tlsio_side);

/* Runs the loop until *flag is not 0; fails after 20 s. */
void	lab_run(struct event_base *, const unsigned *flag);

/* A peer of other making, in a thread of its own. */
struct lab_peer {
	enum tlsio_side	 side;
	const char	*ca, *name;		/* its certificate; NULL: none. It verifies nobody. */
	int		 version;		/* the newest it speaks; 0: TLS 1.3 */
	const char	*alpn;			/* length byte first, as on the wire; NULL: none */
	const char	*bytes;			/* instead of TLS: sends this, then reads until the end */
	bool		 hang_up;		/* closes after bytes */
};
void	lab_peer_start(const struct lab_peer *, int fd);
void	lab_peer_join(void);		/* it ends when the connection does */

#endif
