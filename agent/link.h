/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_LINK_H
#define VMTAP_AGENT_LINK_H

#include <sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/agent.h"
#include "agent/ipc.h"
#include "agent/link_hints.h"
#include "agent/link_netif.h"
#include "agent/link_policy.h"
#include "proto/identity.h"

struct breaker;
struct dial;
struct disk;
struct enroll;
struct event;
struct event_base;
struct listener;
struct link_metrics;
struct renew;
struct rpcap;
struct session;
struct tls_context;

#define LINK_MS		UINT64_C(1000000)	/* in nanoseconds */
#define LINK_GONE_MAX	64

TAILQ_HEAD(session_list, session);

/* Who asks the supervisor for sockets: each for one at a time. */
enum link_asker { LINK_DIAL, LINK_ENROLL, LINK_RPCAP, LINK_ASKERS };

/* An interface that capture could not keep open: left out of the tap until until_ns, longer each time. */
struct link_gone {
	uint8_t		tap;
	uint32_t	ifindex;	/* 0: place is free */
	uint64_t	until_ns;
	unsigned	delay_ms;
};

/* The link role: one of it, handed to all its parts. */
struct link {
	struct event_base *base;
	struct agent_options options;
	struct ipc	*supervisor;
	struct ipc	*capture;		/* NULL while that role is not there */
	struct tls_context *tls;
	struct identity	 own;			/* ours, from the certificate */
	bool		 credentials_due;	/* asked for and not come */
	struct event	*renew;			/* the credentials are read anew, without a call too */
	uint8_t		 instance[MSG_ID_SIZE];
	char		 os[MSG_NAME_SIZE], hardware[MSG_NAME_SIZE];	/* of the guest */

	struct netif_table netifs;
	struct netif_watch *watch;
	struct link_gone gone[LINK_GONE_MAX];
	struct link_tap	 tap[IPC_TAPS_MAX];
	struct hints	 hints;			/* of tap 0 */
	struct disk	*disk;			/* NULL: none */

	struct session_list sessions;
	struct enroll	*enroll;
	struct renew	*renewal;
	struct dial	*dial;
	uint8_t		 socket_for[LINK_ASKERS];	/* enum link_asker: of the sockets asked for and not come, in order */
	unsigned	 sockets_due;
	struct listener	*listener;
	struct rpcap	*rpcap;			/* NULL: not configured */
	struct link_metrics *metrics;

	struct breaker	*breaker, *rpcap_breaker;	/* of sessions' taps, of RPCAP clients' */
	struct event	*pulse;			/* each second while bytes are sent, and when the breaker asks */
	uint64_t	 pulse_due_ns, pulse_beat_ns;
	uint64_t	 sent;			/* bytes, of all sessions */
	uint64_t	 rpcap_sent;		/* of all RPCAP clients */

	bool		 stopping, stop_bye;
	struct event	*stop_timer;
	uint64_t	 stop_ns;		/* when we are killed */
	int		 status;
};

/* --- link.c --- */
uint64_t	 link_random(uint64_t below);
struct event	*link_timer_new(struct link *, void (*)(int, short, void *), void *arg);	/* never NULL: fatal() */
void		 link_timer_set(struct event *, uint64_t delay_ns);
/* Of SOCK_STREAM or SOCK_DGRAM. dial_socket(), enroll_socket() or rpcap_socket() follows; -1 with errno. */
int		 link_ask_socket(struct link *, uint8_t family, uint8_t type, enum link_asker);
void		 link_socket_came(struct link *, struct ipc_message *);
void		 link_stop_check(struct link *);	/* something that an orderly end waits for may have come */

/* --- link_interfaces.c --- */
void	interfaces_changed(void *link);			/* scans, and tells the taps */
void	interfaces_gone(struct link *, const struct ipc_interface_gone *);
void	interfaces_forget(struct link *, uint8_t tap);	/* somebody else has the tap: none is left out of it */
void	interfaces_mark(struct link *, uint8_t tap);	/* sets gone in the table as it is for this tap */

/* --- link_credentials.c --- */
void	credentials_init(struct link *);
void	credentials_request(struct link *);		/* dial_credentials() follows, unless there are to be no sessions */
void	credentials_receive(struct link *, struct ipc_message *);

/* --- link_pulse.c --- */
void	pulse_start(struct link *);			/* something was sent */
void	pulse_beat(int fd, short what, void *link);
void	pulse_init(struct link *);
const struct breaker *pulse_breaker(const struct link *, uint8_t tap);	/* the one that has a say in it */
void	pulse_count_nics(struct link_tap *);		/* what the interfaces dropped, unless looked at a moment ago */

#endif
