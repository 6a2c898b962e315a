/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_E2E_TALK_H
#define VMTAP_TESTS_E2E_TALK_H

#include <sys/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "proto/rpcap.h"

/* What the files of rpcap-talk share. It blocks; what takes longer than its timeout has failed. */

struct ssl_st;
struct ssl_ctx_st;

#define TALK_SESSIONS	64

struct stream {
	int		 fd;		/* -1: none */
	struct ssl_st	*ssl;		/* NULL: plain */
};

/* One client: a control connection, and what it has of a data connection. */
struct session {
	struct stream	control, data;
	int		listener;	/* -1: none */
	bool		datagrams;
	uint16_t	port;		/* STARTCAP reply's */
	uint32_t	linktype;	/* OPEN reply's */
	uint32_t	snaplen, number;	/* of the capture, of its last packet */
};

struct talk {
	const char	*host, *port;
	struct ssl_ctx_st *tls;
	bool		use_tls;	/* unless a line says so */
	int		listener;	/* where the server calls us; -1: we call */
	unsigned	timeout_ms;
	uint8_t		version;	/* of what is sent */
	bool		byte_by_byte;
	struct session	session[TALK_SESSIONS], *s;
	uint16_t	listen_port;	/* $PORT */
	struct buf	out, fields;	/* fields: of the last message, for people */
	char		reason[4096];	/* of the failure */
};

/* -1, and why. */
int	talk_fail(struct talk *, const char *, ...) __attribute__((format(printf, 2, 3)));

/* --- talk_stream.c --- */
struct ssl_ctx_st *stream_tls(const char *ca, const char *cert, const char *key);	/* or exits with a message */
int	stream_connect(struct talk *, struct stream *, const char *from, const char *port, bool tls);	/* from: own address, or NULL */
int	stream_listen(struct talk *);						/* at our address and port */
int	stream_accept(struct talk *, struct stream *, int listener, bool tls);	/* TLS's client all the same */
/* A socket that waits at the address that the control connection has here; its port is in listen_port. -1: failed. */
int	stream_wait(struct talk *, int type);
void	stream_close(struct stream *);
void	stream_set_timeout(const struct talk *, int fd);
int	stream_write(struct talk *, struct stream *, const void *, size_t);
int	stream_read(struct talk *, struct stream *, void *, size_t);		/* all of it */
int	stream_read_end(struct talk *, struct stream *);			/* nothing more comes, and it is closed */

/* --- talk_control.c, talk_data.c: what lines of the script do; args is what is behind the command's words --- */
typedef int talk_fn(struct talk *, char *args);
talk_fn	talk_send_auth_null, talk_send_auth_password, talk_send_header, talk_send_raw, talk_send_filler, talk_send_open,
	talk_send_startcap, talk_send_updatefilter, talk_send_sampling, talk_send_error, talk_send_empty;
talk_fn	talk_expect, talk_expect_closed, talk_expect_alert, talk_await;
talk_fn	talk_data_connect, talk_data_listen, talk_data_accept, talk_data_udp, talk_data_read, talk_data_closed, talk_data_close;
void	talk_session_reset(struct session *);		/* as it was before there was one; closes */

#endif
