/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_SESSION_H
#define VMTAP_AGENT_LINK_SESSION_H

#include <sys/queue.h>
#include <sys/socket.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "agent/link.h"
#include "agent/link_send.h"
#include "common/keepalive.h"
#include "common/tls.h"

/* One session with a collector or an operator (PROTOCOL, "Session"). */
enum session_state {
	SESSION_HANDSHAKE,	/* TLS; nobody knows yet who it is */
	SESSION_HELLO,		/* HELLO is out, WELCOME is due */
	SESSION_LIVE,
	SESSION_ENDING,		/* the last frames go out, what comes in is passed over */
	SESSION_CLOSED
};

struct session {
	TAILQ_ENTRY(session) entry;
	struct link	*link;
	struct tlsio	*io;
	enum session_state state;
	bool		 dialled;	/* by us */
	bool		 was_live;
	bool		 peer_bye;	/* ended by its BYE */
	bool		 peer_gone;	/* nobody hears what is said: the end waits for nothing */
	bool		 moved;		/* its own address has left this machine */
	struct identity	 peer;
	char		 name[192];	/* "collector lab (192.0.2.1:8827)" */
	char		 why[TLS_ERROR_SIZE];	/* of the end */
	uint16_t	 peer_error;	/* enum msg_error of the peer's ERROR; 0: none came */
	struct link_tap	*tap;		/* from HELLO on; while another session is live on it, that one's until WELCOME */
	struct sender	 sender;
	uint8_t		 listed[MSG_STREAMS_MAX][MSG_ID_SIZE];	/* streams in its HELLO */
	size_t		 listed_count;
	bool		 more_streams;	/* ended to list others: the next one is wanted at once */
	struct event	*timer;		/* the state's time limit, then keepalive */
	struct event	*pacer;		/* the sender goes on */
	uint64_t	 live_ns;	/* since when */
	struct keepalive alive;
	uint32_t	 keepalive_ms;
	uint64_t	 pings;		/* sent so far */
	uint64_t	 stats_ns;	/* when STATS were sent */
	uint8_t		 addresses_stream[MSG_ID_SIZE];	/* link_addresses.c: of which ADDRESSES were told, */
	uint64_t	 addresses_told[MSG_INTERFACES_MAX];	/* by its interface ids: netif's number */
	struct sockaddr_storage local;	/* its own address; family 0: an interface never had it */
	uint64_t	 missing_ns;	/* since when no interface has it; 0: one has */
	uint8_t		 certificate[TLS_FINGERPRINT_SIZE];	/* our own, that it was made with */
	time_t		 not_after;	/* of that */
	uint64_t	 bytes_counted;
};

/* Over a connected socket, which it owns. NULL with a log line; the socket is then closed. expect_host as in tls.h. */
struct session	*session_new(struct link *, int fd, enum tlsio_side, const char *expect_host);
void		 session_free(struct session *);	/* at once; only for the end of the process */
/* Sends what can be sent now. */
void		 session_run(struct session *);
void		 session_policy_result(struct session *, uint64_t version, bool accepted, const char *reason);
void		 session_last_stats(struct session *, const struct msg_stats *);	/* of a stream that has ended */
void		 session_stats(struct session *);	/* and the interfaces they are of; nothing while there is no stream */
/* BYE with code and words, then the connection ends. */
void		 session_bye(struct session *, uint16_t code, const char *why);
/* ERROR with code and words, which are logged too, then the connection ends. */
void		 session_error(struct session *, enum msg_error, const char *, ...) __attribute__((format(printf, 3, 4)));
/* All that was captured is sent and acknowledged, and no more will come. */
bool		 session_done(const struct session *);
uint64_t	 session_count_bytes(struct session *);	/* on the connection since the last call */
uint64_t	 session_unsent(const struct session *);	/* bytes that the peer's TCP has not acknowledged */
void		 session_hold_all(struct link *, bool held);	/* the breaker's */
void		 session_limit_all(struct link *);	/* rate limits are shared anew, with RPCAP captures */
size_t		 session_count_unsettled(const struct link *);	/* accepted ones that are not live */

/* link_session.c <-> link_message.c */
void		 session_take_tap(struct session *);	/* WELCOME came: what another session had is ours */
bool		 message_take(struct session *, struct buf *input);	/* one whole frame; false: there is none, or the session ends */
void		 session_begin(struct session *, uint32_t codecs, uint32_t keepalive_ms);	/* WELCOME came */
void		 session_ended(struct session *, uint16_t peer_error, const char *text);	/* BYE (0) or ERROR came */
void		 session_put(struct session *, int errs);	/* of the msg_put_x() into sender.control: sends it */

/* link_addresses.c */
void		 session_addresses(struct session *);	/* ADDRESSES of what is captured, where they are not as told last */
void		 session_addresses_all(struct link *);

/* link_life.c: how a live session notices that its end has come. */
void		 life_start(struct session *);
void		 life_heard(struct session *);		/* bytes came */
void		 life_check(struct session *);		/* the timer that these set */
/* Sessions whose own address has left this machine end. For each change of interfaces and addresses. */
void		 life_check_addresses(struct link *);
bool		 session_certificate_differs(const struct session *);	/* from what is on disk now */
bool		 session_expired(const struct session *);	/* either side's certificate has ended */

#endif
