/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_RPCAP_SERVER_H
#define VMTAP_AGENT_RPCAP_SERVER_H

#include <sys/queue.h>
#include <sys/socket.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/agent.h"
#include "agent/ipc.h"
#include "agent/rpcap_allow.h"
#include "common/buf.h"
#include "proto/rpcap.h"

/* What the files of agent/rpcap_*.c share. */

struct event;
struct link;
struct link_tap;
struct netif;
struct resolve_address;
struct rpcap_call;
struct rpcap_capture;
struct rpcap_client;
struct rpcap_door;
struct rpcap_passwords;
struct tls_context;
struct tlsio;

#define RPCAP_CLIENTS_MAX	32	/* control connections that have authenticated; to list interfaces takes one, too */
#define RPCAP_STRANGERS_MAX	16	/* that have not */
#define RPCAP_AUTH_MS		10000	/* time to */
#define RPCAP_IDLE_MS		180000	/* without a request and without a capture, of one that called us */
#define RPCAP_WRONG_MS		1000	/* after a wrong password; none of the same host is looked at meanwhile */
#define RPCAP_HASH_MS		50	/* likewise, nobody's, */
#define RPCAP_HASH_TIMES	4	/* and for so many times as long as it took: who guesses must not take all of our time */
#define RPCAP_GUESSERS_MAX	(RPCAP_WRONG_MS / RPCAP_HASH_MS)	/* more cannot have been wrong in that time */

enum rpcap_client_state {
	CLIENT_FIRST_BYTE,	/* tells TLS from plain text */
	CLIENT_HANDSHAKE,
	CLIENT_AUTH,
	CLIENT_READY,
	CLIENT_CLOSING		/* what is queued goes out */
};

/* Of a connection that is not to be, by its first byte. */
enum rpcap_refusal { REFUSAL_NONE, REFUSAL_NO_TLS, REFUSAL_TLS_REQUIRED, REFUSAL_PLAIN };

/* A control connection. One request at a time: while its answer is awaited from capture or supervisor, the next ones wait. */
struct rpcap_client {
	TAILQ_ENTRY(rpcap_client) entry;
	struct rpcap	*server;
	struct rpcap_call *call;	/* that made it (active mode); NULL: accepted */
	enum rpcap_client_state state;
	int		 fd;		/* in CLIENT_FIRST_BYTE; then control's */
	struct tlsio	*control;
	bool		 tls;
	struct sockaddr_storage address;	/* the client's */
	socklen_t	 address_len;
	char		 name[128];	/* "192.0.2.1:40000" */
	struct event	*first;		/* a byte is there; freed with CLIENT_FIRST_BYTE */
	uint8_t		 hello[3];	/* the first ones: TLS's record header, or RPCAP's version and type */
	enum rpcap_refusal refusal;	/* told as soon as something can be */
	uint64_t	 since_ns;	/* clock_mono_ns() */
	char		 why[128];	/* of the end, as far as we know it; for the log */
	struct event	*timer;		/* of the state */
	struct event	*next;		/* the next request is looked at */
	uint8_t		 awaited;	/* enum rpcap_type of the request whose answer is awaited; 0: none is */
	uint8_t		 version;	/* of that request */
	uint32_t	 skip;		/* bytes of a payload still to be passed over */
	uint32_t	 ticket;	/* of OPEN, at the capture role */
	char		 source[IF_NAMESIZE];	/* OPEN's; "": none yet */
	uint32_t	 ifindex;	/* its: one of the same name that comes later may be of another link type */
	struct rpcap_sampling sampling;
	struct rpcap_capture *capture;	/* NULL: none */
	struct rpcap_stats last;	/* of the capture that ended before */
	uint64_t	 guess_ns;	/* clock_mono_ns(); before that none of its passwords is looked at */
	bool		 asked_to_close;	/* by CLOSE */
	bool		 authenticated;
};
TAILQ_HEAD(rpcap_client_list, rpcap_client);

/* Who waits for a socket of the supervisor's, in order. */
struct rpcap_wait {
	TAILQ_ENTRY(rpcap_wait) entry;
	uint8_t		 family, type;
	void		(*came)(int fd, int error, void *arg);	/* takes fd */
	void		*arg;
	bool		 queued;
};
TAILQ_HEAD(rpcap_wait_list, rpcap_wait);

/* A host that sent a wrong password. */
struct rpcap_guesser {
	struct sockaddr_storage address;
	uint64_t	 until_ns;	/* clock_mono_ns(); 0: place is free */
};

struct rpcap {
	struct link	*link;
	struct tls_context *tls;	/* NULL: none could be had, or is configured */
	struct rpcap_passwords *passwords;
	struct rpcap_client_list clients;
	struct rpcap_wait_list waits;
	LIST_HEAD(, rpcap_door) doors;	/* where data connections come in */
	struct rpcap_wait *asked;	/* for whom a socket is due; NULL: nobody any more */
	bool		 socket_due;
	bool		 held;		/* by the breaker */
	bool		 stopping;
	uint64_t	 counted_bytes;
	/* since the role began */
	uint64_t	 accepted, refused, packets_sent, packets_lost, bytes_sent;
	struct rpcap_listener *listener;
	struct rpcap_call *call[AGENT_RPCAP_CONNECTS_MAX];	/* of --rpcap-connect; NULL: place is free */
	struct rpcap_guesser guesser[RPCAP_GUESSERS_MAX];
	uint64_t	 hash_ns;	/* clock_mono_ns(); before that nobody's password is looked at */
	struct rpcap_allow allow;
	bool		 files_known;	/* IPC_RPCAP_FILES came */
	bool		 said_plain;	/* that it is allowed */
	uint32_t	 tickets;	/* of IPC_LINKTYPE_REQUEST */
};

/* --- rpcap.c --- */
/* family, type, came and arg are set; came() follows, from the loop or from here. */
void	rpcap_wait_socket(struct rpcap *, struct rpcap_wait *);
void	rpcap_wait_cancel(struct rpcap *, struct rpcap_wait *);
bool	rpcap_wants_tls(const struct rpcap *);	/* --rpcap-cert is there: plain text needs --rpcap-plain even over loopback */

/* --- rpcap_listen.c, rpcap_call.c --- */
struct rpcap_listener;
struct rpcap_listener *rpcap_listener_new(struct rpcap *);	/* NULL: no --rpcap-listen */
void	rpcap_listener_free(struct rpcap_listener *);
void	rpcap_listener_check(struct rpcap_listener *);	/* may it accept? */
void	rpcap_calls_start(struct rpcap *);	/* as the options say now */
void	rpcap_calls_stop(struct rpcap *);
void	rpcap_calls_answered(struct rpcap *);	/* as rpcap_taps_answered() */
size_t	rpcap_calls_endpoints(const struct rpcap *, struct ipc_endpoint *, size_t max);
void	rpcap_call_ended(struct rpcap_call *, bool authenticated, bool closed_by_peer);	/* its client is gone */

/* --- rpcap_client.c: the control connection --- */
struct rpcap_client *rpcap_client_new(struct rpcap *, int fd, struct rpcap_call *);	/* takes fd; NULL with a log line */
void	rpcap_client_free(struct rpcap_client *);	/* with its capture, at once */
void	rpcap_client_close(struct rpcap_client *, const char *why);	/* once what is queued is out */
/* The answer to the request that is awaited: the next one is then looked at. msg: of rpcap_put_...(), taken (cleared). */
void	rpcap_client_answer(struct rpcap_client *, struct buf *msg);
void	rpcap_client_refuse(struct rpcap_client *, enum rpcap_error, const char *, ...) __attribute__((format(printf, 3, 4)));
/* An error that nobody asked for. */
void	rpcap_client_tell(struct rpcap_client *, enum rpcap_error, const char *text);
bool	rpcap_client_is_local(const struct rpcap_client *);	/* over loopback */
void	rpcap_client_ready(struct rpcap_client *, const char *user);	/* has authenticated; NULL: without a user */
/* Has not, by a password that took so long to look at: it is refused, and waits for its next attempt. */
void	rpcap_client_wrong(struct rpcap_client *, const char *user, uint64_t took_ns);

/*
 * --- rpcap_request.c: what each request does ---
 * Each ends in rpcap_client_answer() or rpcap_client_refuse(), from here or later. The payload is there up to payload_max; what is
 * longer is passed over afterwards.
 */
struct rpcap_request {
	void		(*take)(struct rpcap_client *, struct cursor *payload);	/* NULL: not a request */
	uint32_t	 payload_max;
};
extern const struct rpcap_request rpcap_requests[RPCAP_TYPE_MAX];

/* --- rpcap_auth.c --- */
bool	rpcap_auth_host(const struct rpcap *, const struct sockaddr_storage *);	/* --rpcap-allow */
uint64_t rpcap_auth_wait_ns(const struct rpcap_client *, uint64_t now_ns);	/* until a password of its may be looked at */
void	rpcap_auth_wrong(struct rpcap_client *, uint64_t now_ns, uint64_t took_ns);	/* one was, and was wrong */
struct rpcap_passwords *rpcap_passwords_read(int fd, const char *name);	/* NULL with a log line */
void	rpcap_passwords_free(struct rpcap_passwords *);
bool	rpcap_passwords_match(const struct rpcap_passwords *, const char *user, size_t user_len, const char *password,
	    size_t password_len);

/* --- rpcap_interfaces.c --- */
#define RPCAP_INTERFACES_MAX	(512u * 1024)	/* bytes of the reply */
/* A whole FINDALLIF reply; -1 with code and error. */
int	rpcap_put_interfaces(const struct link *, struct buf *, uint8_t version, enum rpcap_error *code,
	    char error[RPCAP_TEXT_SIZE]);
/* NULL: there is none of this name that a client may see. */
const struct netif *rpcap_find_interface(const struct link *, const char *name);

/* --- rpcap_capture.c: the tap --- */
/* Each ends in rpcap_client_answer() or rpcap_client_refuse(), from here or later. insn is taken (free(3)). */
void	rpcap_capture_start(struct rpcap_client *, const struct rpcap_startcap *, struct rpcap_filter *);
void	rpcap_capture_filter(struct rpcap_client *, struct rpcap_filter *);
void	rpcap_capture_stats(struct rpcap_client *);
void	rpcap_capture_end(struct rpcap_client *);
void	rpcap_capture_free(struct rpcap_capture *);	/* at once, data connection and tap too; NULL is fine, as below */
size_t	rpcap_capture_endpoints(const struct rpcap_capture *, struct ipc_endpoint *, size_t max);	/* of its data connection */
uint64_t rpcap_capture_unsent(const struct rpcap_capture *);
void	rpcap_capture_hold(struct rpcap_capture *, bool);
void	rpcap_capture_answered(struct rpcap_capture *);	/* as rpcap_taps_answered() */
void	rpcap_capture_restart(struct rpcap_capture *);	/* the capture role is new or gone: what it was asked is not answered */
void	rpcap_capture_log(const struct rpcap_capture *);

#endif
