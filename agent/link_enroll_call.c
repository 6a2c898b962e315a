/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/link.h"
#include "agent/link_backoff.h"
#include "agent/link_dial.h"
#include "agent/link_enroll.h"
#include "agent/link_policy.h"
#include "agent/link_race.h"
#include "agent/link_renew.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "proto/frame.h"

/*
 * One call: the key to the disk, then the collector's addresses left out of what is captured, a race of them, TLS that trusts the
 * fingerprint alone, ENROLL, CERTIFICATE; then the root and at last key and certificate to the disk. Whatever goes wrong, the same
 * key asks again, so that a token is never used up in vain.
 */

#define HANDSHAKE_MS	10000
#define ANSWER_MS	30000		/* who signs may be another machine yet */
#define INPUT_MAX	(32u * 1024)	/* CERTIFICATE has 17 KiB */
#define TEXT_MAX	(MSG_CHAIN_MAX * 6000u + 4096)	/* key and certificates, PEM */

enum call_state {
	CALL_OFF,
	CALL_WAIT,		/* for the next attempt */
	CALL_STORE_KEY,
	CALL_RESOLVE,
	CALL_EXCLUDE,		/* the capture role leaves the addresses out */
	CALL_RACE,
	CALL_TALK,
	CALL_STORE_CA,
	CALL_STORE_CERTIFICATE
};

struct enroll_call {
	struct enroll	*enroll;
	struct link	*link;
	enum call_state	 state;
	struct event	*timer;
	unsigned	 rounds;
	char		 said[TLS_ERROR_SIZE];	/* the last failure in the log */
	char		 host[256];
	uint16_t	 port;
	struct resolve	*resolve;
	struct resolve_address address[RESOLVE_MAX];
	size_t		 address_count;
	struct race	*race;
	struct tlsio	*io;
	struct tls_granted granted;
	struct buf	 text;		/* key and certificates, once granted */
	char		 why[TLS_ERROR_SIZE];
};

static void
change_state(struct enroll_call *c, enum call_state state)
{
	race_stop(c->race);
	resolve_cancel(c->resolve);
	c->resolve = NULL;
	tlsio_free(c->io);
	c->io = NULL;
	event_del(c->timer);
	c->state = state;
}

/* --- ends --- */

static void
wait_for_next(struct enroll_call *c)
{
	uint64_t most_ms = backoff_next_ms(&c->rounds);

	change_state(c, CALL_WAIT);
	link_timer_set(c->timer, (most_ms / 4 + link_random(most_ms)) * LINK_MS);
}

/* What stays wrong is said once, not at each attempt. */
static void
call_failed(struct enroll_call *c, const char *why)
{
	if (strcmp(c->said, why) != 0)
		log_warn("enrolment at %s: %s; it goes on being tried", c->link->options.enroll, why);
	snprintf(c->said, sizeof(c->said), "%s", why);
	buf_wipe(&c->text);
	wait_for_next(c);
}

static void
call_refused(struct enroll_call *c, const char *why)
{
	change_state(c, CALL_OFF);
	c->rounds = 0;
	enroll_refused(c->enroll, why);
}

static void
call_failed_text(struct enroll_call *c, const char *what, const char *why)
{
	char text[TLS_ERROR_SIZE];

	snprintf(text, sizeof(text), "%s: %.400s", what, why);
	call_failed(c, text);
}

/* --- the disk --- */

static void
store_failed(struct enroll_call *c, int error)
{
	char text[TLS_ERROR_SIZE];

	snprintf(text, sizeof(text), "%s cannot keep %s (%s), %s", c->link->options.state_dir,
	    c->state == CALL_STORE_KEY ? "a key" : "the certificate", strerror(error),
	    c->state == CALL_STORE_KEY ? "and nothing is asked without" : "which will be asked for again");
	call_failed(c, text);
}

static void
store(struct enroll_call *c, enum call_state state, enum ipc_store what, const struct buf *text)
{
	change_state(c, state);
	if (ipc_send_store(c->link->supervisor, what, text->data, text->len) == -1)
		store_failed(c, errno);
}

/* --- the answer --- */

/* A deployment's root, whatever it says of itself, and this agent's certificate below it. */
static int
check_granted(struct enroll_call *c, const struct msg_certificate *msg, const struct buf *root)
{
	struct tls_der chain[MSG_CHAIN_MAX];
	struct identity identity;

	for (size_t i = 0; i < msg->count; i++)
		chain[i] = (struct tls_der){ msg->certificate[i].der, msg->certificate[i].len };
	if (tls_key_granted(c->enroll->pending, chain, msg->count, root->data, root->len, &c->granted, &c->text, c->why) == -1)
		return -1;
	if (identity_parse(c->granted.uri, c->granted.common_name, &identity) == 0 && identity.role == ROLE_AGENT)
		return 0;
	snprintf(c->why, sizeof(c->why), "the certificate is not an agent's");
	return -1;
}

static void
take_certificate(struct enroll_call *c, const struct msg_certificate *msg)
{
	struct buf root;

	buf_init(&root, TEXT_MAX);
	buf_wipe(&c->text);
	if (buf_reserve(&c->text, TEXT_MAX) == -1 || tls_key_put(c->enroll->pending, &c->text) == -1 ||
	    tlsio_peer_root(c->io, &root) == -1)
		call_failed(c, "out of memory");
	else if (check_granted(c, msg, &root) == -1)
		call_failed(c, c->why);
	else
		store(c, CALL_STORE_CA, STORE_CA, &root);
	buf_clear(&root);
}

static void
on_certificate(struct enroll_call *c, const struct frame *frame)
{
	struct msg_certificate msg;
	char why[MSG_TEXT_SIZE];

	if (msg_get_certificate(frame, &msg) == -1)
		call_failed(c, "the collector's answer makes no sense (malformed CERTIFICATE)");
	else if (msg.reason[0] == '\0')
		take_certificate(c, &msg);
	else {
		log_escape(why, sizeof(why), msg.reason);
		call_refused(c, why);
	}
}

static void
on_error(struct enroll_call *c, const struct frame *frame)
{
	struct msg_end end;

	if (msg_get_error(frame, &end) == -1)
		call_failed(c, "the collector's answer makes no sense (malformed ERROR)");
	else if (end.code == MSG_ERR_TOKEN)
		call_refused(c, "the collector does not know the token (mistyped, of another collector, or removed there), or has been "
		    "asked too often");
	else
		call_failed_text(c, "the collector refuses", end.text);
}

static void
on_readable(struct tlsio *io, void *arg)
{
	struct enroll_call *c = arg;
	const struct buf *input = tlsio_input(io);
	struct frame frame;
	enum frame_error error;

	if ((error = frame_parse(input->data, input->len, &frame)) == FRAME_MORE) {
		tlsio_input_taken(io);
		return;
	}
	if (error != FRAME_OK)
		call_failed_text(c, "the collector's answer makes no sense", frame_error_text(error));
	else if (frame.type == FRAME_CERTIFICATE)
		on_certificate(c, &frame);
	else if (frame.type == FRAME_ERROR)
		on_error(c, &frame);
	else
		call_failed_text(c, "the collector's answer has no place here", frame_type_name(frame.type));
}

/* --- the question --- */

/* The host's name up to the first dot, if it may be a VM's. */
static void
wish_name(char name[IDENTITY_NAME_SIZE])
{
	char host[256] = "";

	name[0] = '\0';
	if (gethostname(host, sizeof(host) - 1) == -1)
		return;
	host[strcspn(host, ".")] = '\0';
	if (strlen(host) < IDENTITY_NAME_SIZE && identity_name_valid(host))
		strcpy(name, host);
}

static int
put_enroll(const struct enroll_call *c, struct buf *out)
{
	struct msg_enroll msg = { 0 };
	struct buf csr;
	int errs;

	buf_init(&csr, MSG_CERTIFICATE_MAX);
	memcpy(msg.token, c->enroll->token.text, sizeof(msg.token));
	wish_name(msg.name);
	snprintf(msg.software, sizeof(msg.software), "vmtap-agent %s", PACKAGE_VERSION);
	errs = buf_reserve(out, FRAME_HEADER_SIZE + sizeof(msg) + MSG_CERTIFICATE_MAX);
	errs += tls_key_request(c->enroll->pending, &csr);
	msg.csr = csr.data;
	msg.csr_len = csr.len;
	errs += msg_put_enroll(out, &msg);
	explicit_bzero(&msg, sizeof(msg));
	buf_clear(&csr);
	return errs == 0 ? 0 : -1;
}

/* Nothing is said before it is sure that this is a collector of the deployment. */
static void
on_opened(struct tlsio *io, void *arg)
{
	struct enroll_call *c = arg;
	struct identity peer;
	struct buf out;

	if (identity_parse(tlsio_peer_uri(io), tlsio_peer_common_name(io), &peer) == -1 || peer.role != ROLE_COLLECTOR) {
		call_failed(c, "who answers there is of the deployment, but no collector");
		return;
	}
	buf_init(&out, INPUT_MAX);
	if (put_enroll(c, &out) == 0 && tlsio_write(io, out.data, out.len) == 0)
		link_timer_set(c->timer, ANSWER_MS * LINK_MS);
	else
		call_failed(c, "out of memory");
	buf_wipe(&out);
}

static void
on_closed(struct tlsio *io, const char *why, void *arg)
{
	(void)io;
	call_failed(arg, why);
}

/* --- the connection --- */

static void
talk(struct enroll_call *c, int fd)
{
	static const struct tlsio_callbacks callbacks = { on_opened, on_readable, NULL, on_closed };
	const struct tlsio_options options = { .side = TLSIO_CLIENT, .expect_host = c->host, .handshake_ms = HANDSHAKE_MS,
	    .input_max = INPUT_MAX, .read_budget = INPUT_MAX };
	uint8_t fingerprint[TLS_FINGERPRINT_SIZE];
	struct tls_context *tls = NULL;

	change_state(c, CALL_TALK);
	if (tls_fingerprint_parse(c->link->options.ca_fingerprint, fingerprint) == 0)
		tls = tls_context_new_pinned(fingerprint, FRAME_ALPN_ENROLL, c->why);
	if (tls != NULL)
		c->io = tlsio_new(c->link->base, tls, fd, &options, &callbacks, c);
	tls_context_free(tls);
	if (c->io != NULL)
		return;
	close(fd);
	call_failed(c, "out of memory");
}

static int
on_race_ask(uint8_t family, void *arg)
{
	struct enroll_call *c = arg;

	return link_ask_socket(c->link, family, SOCK_STREAM, LINK_ENROLL);
}

static void
on_race_won(int fd, const struct resolve_address *address, void *arg)
{
	(void)address;
	talk(arg, fd);
}

static void
on_race_failed(const struct resolve_address *address, const char *why, void *arg)
{
	struct enroll_call *c = arg;
	char host[64] = "?";

	(void)getnameinfo((const struct sockaddr *)&address->ss, address->len, host, sizeof(host), NULL, 0, NI_NUMERICHOST);
	snprintf(c->why, sizeof(c->why), "cannot connect to %s port %u: %.200s", host, c->port, why);
}

static void
on_race_lost(void *arg)
{
	struct enroll_call *c = arg;

	call_failed(c, c->why);
}

void
enroll_taps_answered(struct link *link)
{
	struct enroll_call *c;

	if (link->enroll == NULL || (c = link->enroll->call)->state != CALL_EXCLUDE || !tap_all_answered(link))
		return;
	change_state(c, CALL_RACE);
	race_start(c->race, c->address, c->address_count);
}

static void
on_resolved(const struct resolve_address *address, size_t count, const char *error, void *arg)
{
	struct enroll_call *c = arg;

	c->resolve = NULL;
	if (count == 0) {
		call_failed(c, error);
		return;
	}
	memcpy(c->address, address, count * sizeof(*address));
	c->address_count = count;
	change_state(c, CALL_EXCLUDE);
	tap_update_all(c->link);
	enroll_taps_answered(c->link);
}

static void
call_host(struct enroll_call *c)
{
	struct conf_error error;
	struct resolve *resolve;

	change_state(c, CALL_RESOLVE);
	if (conf_host_port(c->link->options.enroll, FRAME_PORT, c->host, sizeof(c->host), &c->port, &error) == -1) {
		call_failed(c, error.text);
		return;
	}
	if ((resolve = resolve_start(c->link->base, c->host, c->port, on_resolved, c)) != NULL)
		c->resolve = resolve;
}

/* --- the key --- */

static void
begin(struct enroll_call *c)
{
	struct buf text;

	if (c->enroll->pending != NULL) {
		call_host(c);
		return;
	}
	buf_init(&text, TEXT_MAX);
	c->enroll->pending = tls_key_new();
	if (c->enroll->pending != NULL && buf_reserve(&text, TEXT_MAX) == 0 && tls_key_put(c->enroll->pending, &text) == 0)
		store(c, CALL_STORE_KEY, STORE_PENDING, &text);
	else
		call_failed(c, "no key can be made");
	buf_wipe(&text);
}

static void
forget_pending(struct enroll_call *c)
{
	tls_key_free(c->enroll->pending);
	c->enroll->pending = NULL;
}

static void
log_granted(const struct enroll_call *c)
{
	char when[CLOCK_ISO_SIZE];

	clock_iso((uint64_t)c->granted.not_after * 1000000000, when, sizeof(when));
	log_info("enrolled: this is %s (%s), until %s", c->granted.common_name, c->granted.uri, when);
}

static void
stored(struct enroll_call *c, enum ipc_store what)
{
	if (what == STORE_PENDING && c->state == CALL_STORE_KEY)
		call_host(c);
	else if (what == STORE_CA && c->state == CALL_STORE_CA) {
		enroll_new_identity(c->enroll);
		store(c, CALL_STORE_CERTIFICATE, STORE_ENROLLED, &c->text);
	} else if (what == STORE_ENROLLED && c->state == CALL_STORE_CERTIFICATE) {
		change_state(c, CALL_OFF);
		c->rounds = 0;
		c->said[0] = '\0';
		buf_wipe(&c->text);
		forget_pending(c);
		log_granted(c);
		renew_granted(c->link);
		enroll_granted(c->enroll);
	}
}

/* A key that is not on the disk is not used, not even later. */
void
enroll_stored(struct link *link, enum ipc_store what, int error)
{
	struct enroll_call *c;

	if (what == STORE_RENEWED) {
		renew_stored(link, error);
		return;
	}
	if (link->enroll == NULL)
		return;
	c = link->enroll->call;
	if (error == 0) {
		stored(c, what);
		return;
	}
	if (what == STORE_PENDING)
		forget_pending(c);
	if (c->state == CALL_STORE_KEY || c->state == CALL_STORE_CA || c->state == CALL_STORE_CERTIFICATE)
		store_failed(c, error);
}

/* --- from outside --- */

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct enroll_call *c = arg;

	(void)fd;
	(void)what;
	if (c->state == CALL_WAIT)
		begin(c);
	else if (c->state == CALL_TALK)
		call_failed(c, "the collector has not answered in time");
}

void
enroll_call_start(struct enroll_call *c)
{
	if (c->state != CALL_OFF)
		return;
	log_info("enrolling at %s with the token in %s", c->link->options.enroll, c->link->options.token_file);
	c->rounds = 0;
	c->said[0] = '\0';
	begin(c);
}

/* What is being put on the disk is known there, and its answer awaited. */
void
enroll_call_stop(struct enroll_call *c)
{
	if (c->state == CALL_STORE_KEY || c->state == CALL_STORE_CA || c->state == CALL_STORE_CERTIFICATE)
		return;
	change_state(c, CALL_OFF);
	buf_wipe(&c->text);
}

void
enroll_call_now(struct enroll_call *c)
{
	if (c->state != CALL_WAIT)
		return;
	change_state(c, CALL_WAIT);
	link_timer_set(c->timer, 0);
}

bool
enroll_call_running(const struct enroll_call *c)
{
	return c->state != CALL_OFF;
}

void
enroll_socket(struct link *link, int fd, int error)
{
	if (link->enroll != NULL)
		race_socket(link->enroll->call->race, fd, error);
	else if (fd != -1)
		close(fd);
}

size_t
enroll_endpoints(const struct enroll *e, struct ipc_endpoint *out, size_t max)
{
	size_t i;

	if (e == NULL)
		return 0;
	for (i = 0; i < e->call->address_count && i < max; i++)
		dial_endpoint_of(&e->call->address[i], &out[i]);
	return i;
}

struct enroll_call *
enroll_call_new(struct enroll *e)
{
	static const struct race_callbacks callbacks = { on_race_ask, on_race_won, on_race_failed, on_race_lost };
	struct enroll_call *c = calloc(1, sizeof(*c));

	if (c == NULL || (c->race = race_new(e->link->base, &callbacks, c)) == NULL)
		fatal("out of memory");
	c->enroll = e;
	c->link = e->link;
	c->timer = link_timer_new(e->link, on_timer, c);
	buf_init(&c->text, TEXT_MAX);
	return c;
}

void
enroll_call_free(struct enroll_call *c)
{
	change_state(c, CALL_OFF);
	race_free(c->race);
	event_free(c->timer);
	buf_wipe(&c->text);
	free(c);
}
