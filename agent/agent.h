/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_AGENT_AGENT_H
#define VMTAP_AGENT_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/conf.h"
#include "agent/disk.h"
#include "agent/ipc.h"

#define AGENT_ORIGIN_SIZE	256
#define AGENT_NEVER_MAX		4
#define AGENT_ROLES_MEMORY	(16u << 20)	/* of --memory-limit: what the processes take beside rings and spool */
#define AGENT_RINGS_MEMORY_MIN	(4u << 20)

/* The agent's settings: one table (agent_rows in options.c) for command line, file, help and man page. */
struct agent_options {
	struct conf_list interfaces;	/* -i interface */
	char		*filter;	/* operands or -F filter-file or filter = in the file; NULL: none */
	char		*filter_file;	/* -F */
	struct conf_list never;		/* --never FILTER: what may not leave, whatever is asked */
	uint64_t	 snaplen;	/* -s */
	char		*slice;		/* --slice none|headers[:BYTES] */
	bool		 mask;
	bool		 no_withhold;
	uint64_t	 buffer_kib;	/* -B */
	int		 direction;	/* -Q: enum msg_direction, values "inout|in|out" */
	bool		 promiscuous;	/* --promiscuous */
	bool		 no_promiscuous;	/* -p: as tcpdump; the default anyway */
	uint64_t	 flush_ms;	/* --flush-interval */
	int		 ledger;	/* --ledger: values "kernel|ring|off" */
	char		*compress;	/* --compress CODEC[:LEVEL] */
	uint64_t	 spool_memory;
	uint64_t	 spool_disk;	/* 0: none */
	char		*spool_dir;
	uint64_t	 spool_min_free;
	struct conf_list collectors;	/* --collector HOST[:PORT], tried in order */
	struct conf_list listens;	/* --listen ADDR[:PORT] */
	struct conf_list metrics;	/* --metrics PATH or ADDR:PORT; or one AGENT_METRICS_NONE */
	struct conf_list exclude_ports;	/* --exclude-port N: TCP ports never captured; 8827 always */
	char		*enroll;	/* --enroll HOST[:PORT]; NULL: the certificate comes otherwise */
	char		*token_file;
	char		*ca_fingerprint;
	char		*state_dir;
	char		*ca, *cert, *key;
	struct conf_list rpcap_listens;	/* --rpcap-listen ADDR[:PORT] */
	struct conf_list rpcap_connects;	/* --rpcap-connect HOST[:PORT] */
	uint64_t	 rpcap_clients;	/* that capture at a time */
	uint64_t	 rpcap_data_port;	/* 0: any */
	bool		 rpcap_null_auth, rpcap_plain;
	char		*rpcap_passwords;	/* NULL: nobody has one; of the four files */
	char		*rpcap_cert, *rpcap_key, *rpcap_ca;
	struct conf_list rpcap_allow;	/* ADDR[/BITS] of clients that may connect; empty: all */
	uint64_t	 keepalive_ms;
	uint64_t	 rate_limit;	/* bits a second sent; 0 none */
	uint64_t	 rate_burst;	/* of it, bytes that may go at once; 0: those of a quarter of a second */
	uint64_t	 cpu_limit;	/* percent of a core; 0 none */
	uint64_t	 memory_limit;	/* rings, spool and roles */
	char		*ladder;	/* --ladder: governor_parse_ladder() */
	int		 priority;	/* enum agent_priority, values "idle|low|normal" */
	bool		 daemon;
	char		*pidfile;
	char		*user;		/* the roles' user after privileges are dropped */
	bool		 no_sandbox;	/* --no-sandbox */
	char		*config;	/* --config, default /etc/vmtap/agent.conf if it exists */
	int		 log_level;
	bool		 list_interfaces;	/* -D */
	bool		 dump_filter;	/* -d */
	bool		 help, version;
	char		 filter_origin[AGENT_ORIGIN_SIZE];	/* no row: "the command line", "agent.conf:12", -F's file */
};

enum agent_priority { PRIORITY_IDLE, PRIORITY_LOW, PRIORITY_NORMAL };

/* Whether vmtap's own sessions are asked for, for which there must be credentials; and whether RPCAP is. */
bool	agent_options_session(const struct agent_options *);
bool	agent_options_rpcap(const struct agent_options *);
/* What of --memory-limit is for the rings of all interfaces; 0: nothing is left. */
uint64_t agent_rings_memory(const struct agent_options *);

extern const struct conf_row agent_rows[];
#define AGENT_CONFIG	SYSCONFDIR "/vmtap/agent.conf"
#define AGENT_LISTENS_MAX	16
#define AGENT_RPCAP_LISTENS_MAX	4
#define AGENT_RPCAP_CONNECTS_MAX 4
#define AGENT_METRICS_MAX	4
#define AGENT_METRICS_NONE	"none"

/* From command line and config file; -F's file and the operands become the filter, what has no fixed default (user) is filled in.
 * Options is zeroed or what this made before, and unchanged after -1. */
int	agent_options_load(struct agent_options *, int argc, char **argv, struct conf_error *);
/* From the text that a role gets from the supervisor, in a memfd. */
int	agent_options_read(struct agent_options *, int fd, struct conf_error *);
void	agent_options_free(struct agent_options *);
/* After a reload: what needs a restart becomes in fresh what it is in old (and the other way round); its names into dst, or "". */
void	agent_options_keep(struct agent_options *old, struct agent_options *fresh, char *dst, size_t dst_size);

/* Roles run as "vmtap-agent --role=capture|link" with these descriptors, put there by the supervisor. */
enum role_fd {
	ROLE_FD_SUPERVISOR = 3,		/* ipc to the supervisor */
	ROLE_FD_PEER,			/* ipc to the other role */
	ROLE_FD_CONFIG,			/* config text */
	ROLE_FD_SPOOL,			/* IPC_TAPS_MAX spools from here on */
	ROLE_FD_WAKE = ROLE_FD_SPOOL + IPC_TAPS_MAX,	/* their eventfds */
	ROLE_FD_DISK = ROLE_FD_WAKE + IPC_TAPS_MAX,	/* link: segments of the disk spool, if there is one */
	ROLE_FD_LISTEN = ROLE_FD_DISK + DISK_SEGMENTS,	/* link: listening sockets; as many as agent_options.listens */
	ROLE_FD_RPCAP = ROLE_FD_LISTEN + AGENT_LISTENS_MAX,	/* link: likewise; as many as agent_options.rpcap_listens */
	ROLE_FD_METRICS = ROLE_FD_RPCAP + AGENT_RPCAP_LISTENS_MAX,	/* link: AGENT_METRICS_MAX at most; what is not open is none */
	ROLE_FD_POLICY = ROLE_FD_METRICS + AGENT_METRICS_MAX,	/* link: memory for the collector's policy */
	ROLE_FD_LAST			/* capture: memory for a struct last_counts */
};
#define AGENT_POLICY_SIZE	(16u * 1024)	/* a POLICY frame has 10 KiB at most */

/* In the roles' environment, in hexadecimal: MSG_ID_SIZE random bytes of this start of the supervisor (HELLO's instance). */
#define AGENT_INSTANCE_ENV	"VMTAP_INSTANCE"

/* SO_MARK of every socket the agent sends its own data on; the kernel filter drops outbound packets that carry it. */
#define AGENT_MARK	0x766d7470u	/* "vmtp" */

/* Exit status. What the options were made from is read again at SIGHUP. */
int	supervisor_main(struct agent_options *, int argc, char **argv);
int	capture_main(void);	/* the capture role, on its ROLE_FD_*; exit status */
int	link_main(void);	/* the link role */
int	agent_list_interfaces(void);			/* -D */
int	agent_dump_filter(const struct agent_options *);	/* -d */

#endif
