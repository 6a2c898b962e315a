/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pcap/pcap.h>

#include "common/buf.h"
#include "common/tls.h"
#include "proto/bpf.h"

#include "collector/filter_names.h"
#include "collector/rpcap_pull.h"
#include "collector/rpcap_url.h"
#include "collector/stream.h"
#include "collector/worker.h"

/* The program that a server is given: the policy's filter, and none of the connections that bring what it lets through. */

#define OWN_TEXT_SIZE	(64u * 1024)
#define LOOP_LOOKED	16u	/* packets that are looked at, and how many of the data connection are too many */
#define LOOP_OWN	12u

static int
one_end(const struct sockaddr_storage *address, socklen_t len, char host[NI_MAXHOST], char port[NI_MAXSERV])
{
	int rc = getnameinfo((const struct sockaddr *)address, len, host, NI_MAXHOST, port, NI_MAXSERV,
	    NI_NUMERICHOST | NI_NUMERICSERV);

	host[strcspn(host, "%")] = '\0';
	return rc == 0 ? 0 : -1;
}

/* "or (host A and host B and port P and port Q)" of a connection; of one that is not there yet, nothing. */
static int
put_connection(struct buf *text, const struct tlsio *tls)
{
	int fd = tls != NULL ? tlsio_fd(tls) : -1;
	struct sockaddr_storage here, there;
	socklen_t here_len = sizeof(here), there_len = sizeof(there);
	char host[2][NI_MAXHOST], port[2][NI_MAXSERV];

	if (fd == -1)
		return 0;
	if (getsockname(fd, (struct sockaddr *)&here, &here_len) == -1 || getpeername(fd, (struct sockaddr *)&there, &there_len) == -1 ||
	    one_end(&here, here_len, host[0], port[0]) == -1 || one_end(&there, there_len, host[1], port[1]) == -1)
		return 0;
	return buf_printf(text, "%s(host %s and host %s and port %s and port %s)",
	    text->len > 0 ? " or " : "tcp and (", host[0], host[1], port[0], port[1]);
}

static int
put_own(struct buf *text, const struct rpcap_pull *pull)
{
	const struct rpcap_pull *other;
	int errs = 0;

	TAILQ_FOREACH(other, &pull->worker->rpcap_pulls, entry) {
		if (other->url->group != pull->url->group)
			continue;
		errs += put_connection(text, other->control);
		if (other->loop.found)
			errs += buf_printf(text, "%sport %u", text->len > 0 ? " or " : "tcp and (", other->port);
		else
			errs += put_connection(text, other->data);
	}
	errs += buf_put(text, ")", sizeof(")"));
	return errs == 0 ? 0 : -1;
}

/* Of parts, which are compiled each by itself: what is in one must not change another. */
static int
add_part(struct bpf_chain *chain, pcap_t *dead, const char *text, bool negate, char *why, size_t why_size)
{
	struct bpf_program program = { 0 };
	enum bpf_error error;

	if (pcap_compile(dead, &program, text, 1, PCAP_NETMASK_UNKNOWN) == -1) {
		snprintf(why, why_size, "%s", pcap_geterr(dead));
		return -1;
	}
	error = bpf_chain_add(chain, "", program.bf_insns, program.bf_len, negate);
	pcap_freecode(&program);
	if (error == BPF_OK)
		return 0;
	snprintf(why, why_size, "%s", bpf_error_text(error));
	return -1;
}

/* Links on which there are no hosts do not carry the connections. */
static int
add_own(struct bpf_chain *chain, pcap_t *dead, const struct rpcap_pull *pull)
{
	char why[MSG_TEXT_SIZE];
	struct buf text;
	int rc = -1;

	buf_init(&text, OWN_TEXT_SIZE);
	if (put_own(&text, pull) == 0) {
		rc = add_part(chain, dead, (const char *)text.data, true, why, sizeof(why));
		if (rc == -1 && pull->linktype != DLT_EN10MB)
			rc = 0;
	}
	buf_clear(&text);
	return rc;
}

static int
compile_loop(struct rpcap_pull *pull)
{
	pcap_t *dead = pcap_open_dead((int)pull->linktype, (int)pull->snaplen);
	struct bpf_program program = { 0 };
	char text[32];

	snprintf(text, sizeof(text), "tcp port %u", pull->port);
	if (dead != NULL && pcap_compile(dead, &program, text, 1, PCAP_NETMASK_UNKNOWN) == 0 &&
	    (pull->loop.insn = calloc(program.bf_len, sizeof(*pull->loop.insn))) != NULL)
		memcpy(pull->loop.insn, program.bf_insns, program.bf_len * sizeof(*pull->loop.insn));
	pcap_freecode(&program);
	if (dead != NULL)
		pcap_close(dead);
	return pull->loop.insn != NULL ? 0 : -1;
}

void
rpcap_pull_look_for_loop(struct rpcap_pull *pull, const uint8_t *packet, uint32_t captured_len, uint32_t original_len)
{
	if (pull->loop.found || (pull->loop.insn == NULL && compile_loop(pull) == -1))
		return;
	pull->loop.looked++;
	pull->loop.own += bpf_filter(pull->loop.insn, packet, original_len, captured_len) != 0;
	if (pull->loop.looked < LOOP_LOOKED)
		return;
	pull->loop.found = pull->loop.own >= LOOP_OWN;
	pull->loop.looked = pull->loop.own = 0;
	if (!pull->loop.found)
		return;
	log_warn("%s (%s): the capture has its own data connection in it: are addresses translated on the way? TCP port %u is left out",
	    pull->identity.name, pull->url->label, pull->port);
	rpcap_stream_event(pull->stream, "the capture had its own data connection in it: TCP of that port is left out");
	rpcap_pull_renew_filter(pull);
}

static void
refuse(struct rpcap_pull *pull, const char *why)
{
	pull->filter.refused = true;
	snprintf(pull->filter.reason, sizeof(pull->filter.reason), "filter \"%.200s\": %.300s", pull->filter.text, why);
}

/* The policy's filter, or else the one before, which was good then. */
static int
add_policy(struct bpf_chain *chain, pcap_t *dead, struct rpcap_pull *pull)
{
	char why[PCAP_ERRBUF_SIZE];

	if (!pull->filter.refused && filter_has_names(pull->filter.text))
		refuse(pull, "a word that pcap-filter(7) does not have, or a name, which is not looked up: addresses must be numeric");
	if (!pull->filter.refused && pull->filter.text[0] != '\0') {
		if (add_part(chain, dead, pull->filter.text, false, why, sizeof(why)) == 0)
			return 0;
		refuse(pull, why);
	}
	if (!pull->filter.refused || pull->filter.force[0] == '\0')
		return 0;
	return add_part(chain, dead, pull->filter.force, false, why, sizeof(why));
}

/* Into insn[BPF_CHAIN_MAX]. */
static int
compile(struct rpcap_pull *pull, struct bpf_insn *insn, size_t *len, struct fault *fault)
{
	pcap_t *dead = pcap_open_dead((int)pull->linktype, (int)pull->snaplen);
	struct bpf_chain chain;
	int rc = 0;

	bpf_chain_init(&chain);
	if (dead == NULL || add_own(&chain, dead, pull) == -1)
		rc = fault_set(fault, MSG_ERR_LIMIT, "no filter can be made that leaves out the connections themselves");
	else if (add_policy(&chain, dead, pull) == -1 || bpf_chain_finish(&chain, pull->snaplen, insn, len) != BPF_OK)
		rc = fault_set(fault, MSG_ERR_LIMIT, "the filter is too long");
	bpf_chain_clear(&chain);
	if (dead != NULL)
		pcap_close(dead);
	return rc;
}

int
rpcap_pull_ask_filter(struct rpcap_pull *pull, struct fault *fault)
{
	struct bpf_insn *insn = calloc(BPF_CHAIN_MAX, sizeof(*insn));
	struct rpcap_filter filter = { .insn = insn };
	struct buf message;
	size_t len = 0;
	int rc;

	buf_init(&message, RPCAP_HEADER_SIZE + RPCAP_REQUEST_MAX);
	pull->filter.due = false;
	rc = insn != NULL ? compile(pull, insn, &len, fault) : fault_set(fault, MSG_ERR_LIMIT, "out of memory");
	filter.count = (uint32_t)len;
	if (rc == 0 && rpcap_put_updatefilter(&message, RPCAP_VERSION, &filter) == -1)
		rc = fault_set(fault, MSG_ERR_LIMIT, "out of memory");
	if (rc == 0)
		rc = rpcap_pull_ask(pull, RPCAP_UPDATEFILTER, &message, fault);
	buf_clear(&message);
	free(insn);
	return rc;
}

void
rpcap_pull_renew_filter(struct rpcap_pull *pull)
{
	struct fault fault;

	pull->filter.due = true;
	if (pull->state == RPCAP_PULL_RUNNING && pull->awaited == 0 && rpcap_pull_ask_filter(pull, &fault) == -1)
		log_warn("%s (%s): %s", pull->identity.name, pull->url->label, fault.text);
}

void
rpcap_pull_meet(struct rpcap_pull *pull, const struct rpcap_pull *other)
{
	if (other == pull || other->url->group != pull->url->group || pull->state < RPCAP_PULL_FILTER)
		return;
	rpcap_pull_renew_filter(pull);
}
