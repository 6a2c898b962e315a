/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/link_dial.h"
#include "agent/link_enroll.h"
#include "agent/link_listen.h"
#include "agent/link_renew.h"
#include "agent/link_session.h"
#include "common/clock.h"
#include "common/clockwatch.h"
#include "common/log.h"

#define REFUSED_MS	60000		/* a token that was refused is tried again: it may have been the collector's fault */
#define REFUSED_STEPS	6		/* doublings of that */
#define PENDING_MAX	(16u * 1024)

/* --- standing --- */

static bool
is_revoked(const struct enroll *e)
{
	const struct tls_context *tls = e->link->tls;

	return e->revoked && tls != NULL &&
	    memcmp(tls_context_fingerprint(tls), e->revoked_certificate, sizeof(e->revoked_certificate)) == 0;
}

enum standing
enroll_standing(const struct link *link)
{
	const struct enroll *e = link->enroll;

	if (e == NULL)
		return link->tls != NULL ? STANDING_VALID : STANDING_NONE;
	if (e->cloned || e->cloned_by_collector)
		return STANDING_CLONE;
	if (link->tls == NULL)
		return e->expired != 0 ? STANDING_EXPIRED : STANDING_NONE;
	if (is_revoked(e))
		return STANDING_REVOKED;
	return time(NULL) >= tls_context_not_after(link->tls) ? STANDING_EXPIRED : STANDING_VALID;
}

const char *
enroll_standing_name(enum standing standing)
{
	static const char *const name[] = { "none", "enrolled", "expired", "clone", "revoked" };

	return name[standing];
}

static bool
has_token(const struct enroll *e)
{
	return e->managed && e->token.there && !e->token.refused;
}

bool
enroll_known(const struct link *link)
{
	return link->enroll == NULL || link->enroll->known;
}

/* A token that was refused may be followed by a better one: what can be captured until then is not given up. */
bool
enroll_captures(const struct link *link)
{
	const struct enroll *e = link->enroll;

	if (e == NULL)
		return true;
	switch (enroll_standing(link)) {
	case STANDING_VALID:
	case STANDING_EXPIRED:
		return true;
	case STANDING_NONE:
		return !e->managed || e->token.there;
	default:
		return has_token(e);
	}
}

bool
enroll_may_dial(const struct link *link)
{
	enum standing standing = enroll_standing(link);

	return link->enroll == NULL || !link->enroll->managed || standing == STANDING_VALID || standing == STANDING_REVOKED;
}

bool
enroll_gives_credentials(const struct link *link)
{
	return enroll_standing(link) != STANDING_CLONE;
}

bool
enroll_under_way(const struct link *link)
{
	return link->enroll != NULL && enroll_call_running(link->enroll->call);
}

void
enroll_mask_streams(const struct link *link, uint8_t mask[MSG_ID_SIZE])
{
	const char *text = link->own.uuid;
	size_t i = 0;

	memset(mask, 0, MSG_ID_SIZE);
	if (link->enroll == NULL || !link->enroll->managed)
		return;
	for (; *text != '\0' && i < MSG_ID_SIZE; text++)
		if (*text != '-' && sscanf(text, "%2hhx", &mask[i]) == 1) {
			i++;
			text++;
		}
}

/* --- what is said of it, once --- */

static void
say_expired(const struct enroll *e)
{
	const struct link *link = e->link;
	char when[CLOCK_ISO_SIZE], now[CLOCK_ISO_SIZE];
	time_t end = link->tls != NULL ? tls_context_not_after(link->tls) : e->expired;

	clock_iso((uint64_t)end * 1000000000, when, sizeof(when));
	clock_iso(clock_wall_ns(), now, sizeof(now));
	log_error("the certificate %s ended at %s, by a clock that says %s, and no session can be opened with it: capturing into the "
	    "spool goes on, and a token in %s enrols this machine anew, as another VM", link->options.cert, when, now,
	    link->options.token_file);
}

static void
say_standing(const struct enroll *e, enum standing standing)
{
	const char *file = e->link->options.token_file;
	bool token = has_token(e);

	if (standing == STANDING_EXPIRED) {
		if (!e->said_any || e->said != standing)
			say_expired(e);
	} else if (standing == STANDING_NONE && !e->token.there)
		log_warn("not enrolled: nothing is captured until a token is put into %s", file);
	else if (standing == STANDING_CLONE && token)
		log_warn("this machine is a copy of the one that enrolled (%s): it enrols anew", e->cloned_why);
	else if (standing == STANDING_CLONE)
		log_error("this machine is a copy of the one that enrolled (%s), whose certificate is not used: nothing is captured until "
		    "a token is put into %s", e->cloned_why, file);
	else if (standing == STANDING_REVOKED && token)
		log_warn("this VM has been revoked: it enrols anew");
	else if (standing == STANDING_REVOKED && e->managed)
		log_error("this VM has been revoked: nothing is captured until a token is put into %s", file);
	else if (standing == STANDING_REVOKED)
		log_error("this VM has been revoked: nothing is captured until it has another certificate");
}

static void
say(struct enroll *e, enum standing standing)
{
	bool token = has_token(e);

	if (!e->known || (e->said_any && e->said == standing && e->said_token == token))
		return;
	if (e->managed || standing == STANDING_REVOKED)
		say_standing(e, standing);
	e->said_any = true;
	e->said = standing;
	e->said_token = token;
}

/* --- what follows --- */

static void
end_sessions(struct link *link, const char *why)
{
	struct session *s, *next;

	for (s = TAILQ_FIRST(&link->sessions); s != NULL; s = next) {
		next = TAILQ_NEXT(s, entry);
		session_bye(s, 0, why);
	}
}

/* The original's certificate is of no use here; nor is what was made with it. */
static void
leave_identity(struct link *link)
{
	end_sessions(link, "this machine is not the one that the certificate was given to");
	tls_context_free(link->tls);
	link->tls = NULL;
	dial_stop(link->dial);
}

static void
review_call(struct enroll *e, enum standing standing)
{
	if (standing != STANDING_VALID && has_token(e) && !e->link->stopping)
		enroll_call_start(e->call);
	else
		enroll_call_stop(e->call);
}

void
enroll_review(struct link *link)
{
	struct enroll *e = link->enroll;
	enum standing standing = enroll_standing(link);

	if (e == NULL || !e->known)
		return;
	say(e, standing);
	if (e->revoked && standing == STANDING_VALID) {
		e->revoked = false;
		dial_start(link->dial);
	}
	if (standing == STANDING_CLONE && link->tls != NULL)
		leave_identity(link);
	else if (standing == STANDING_REVOKED)
		end_sessions(link, "this VM has been revoked");
	review_call(e, standing);
	tap_update_all(link);
	listener_check(link->listener);
	if (e->managed && standing == STANDING_VALID)
		dial_resume(link->dial);
}

void
enroll_ready(struct link *link)
{
	if (link->enroll == NULL)
		return;
	link->enroll->known = true;
	enroll_review(link);
}

/* --- token and key --- */

static ssize_t
read_fd(int fd, char *text, size_t size)
{
	ssize_t n = pread(fd, text, size - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return n;
}

static bool
same_file(const struct enroll_token *token, const struct stat *st)
{
	return token->ino != 0 && token->ino == st->st_ino && token->mtime.tv_sec == st->st_mtim.tv_sec &&
	    token->mtime.tv_nsec == st->st_mtim.tv_nsec && token->ctime.tv_sec == st->st_ctim.tv_sec &&
	    token->ctime.tv_nsec == st->st_ctim.tv_nsec;
}

/* The first word; a file that is not one short line of it holds no token. */
static bool
token_read(char text[MSG_NAME_SIZE], int fd)
{
	char line[MSG_NAME_SIZE + 2];
	ssize_t n = read_fd(fd, line, sizeof(line));
	size_t len = strcspn(line, " \t\r\n");
	bool fits = n > 0 && len > 0 && len < MSG_NAME_SIZE;

	for (size_t i = 0; fits && i < len; i++)
		fits = (unsigned char)line[i] > 0x20 && (unsigned char)line[i] < 0x7f;
	explicit_bzero(text, MSG_NAME_SIZE);
	if (fits)
		memcpy(text, line, len);
	explicit_bzero(line, sizeof(line));
	return fits;
}

static void
take_token(struct enroll *e, int fd)
{
	struct enroll_token *token = &e->token;
	struct stat st;

	if (fd == -1 || fstat(fd, &st) == -1) {
		explicit_bzero(token, sizeof(*token));
		return;
	}
	if (same_file(token, &st))
		return;
	explicit_bzero(token, sizeof(*token));
	event_del(e->again);
	e->refusals = 0;
	token->ino = st.st_ino;
	token->mtime = st.st_mtim;
	token->ctime = st.st_ctim;
	if (!(token->there = token_read(token->text, fd)) && st.st_size > 0)
		log_error("%s: holds no token", e->link->options.token_file);
}

static void
take_pending(struct enroll *e, int fd)
{
	char pem[PENDING_MAX];
	ssize_t n;

	if (enroll_call_running(e->call))
		return;		/* it has it, or another one */
	tls_key_free(e->pending);
	e->pending = NULL;
	if (fd == -1)
		return;
	if ((n = read_fd(fd, pem, sizeof(pem))) > 0)
		e->pending = tls_key_read(pem, (size_t)n);
	explicit_bzero(pem, sizeof(pem));
}

void
enroll_told(struct link *link, struct ipc_message *message)
{
	struct enroll *e = link->enroll;
	struct ipc_enrolment told;

	if (ipc_get_enrolment(message, &told) == -1) {
		log_warn("what there is of enrolment makes no sense");
		return;
	}
	if (told.cloned && !e->cloned)
		memcpy(e->cloned_why, told.why, sizeof(e->cloned_why));
	e->cloned = told.cloned;
	take_token(e, told.token ? message->fd[0] : -1);
	take_pending(e, told.pending ? message->fd[told.token] : -1);
}

void
enroll_unusable(struct link *link, time_t not_after)
{
	if (link->enroll != NULL)
		link->enroll->expired = not_after != 0 && not_after <= time(NULL) ? not_after : 0;
}

/* --- the call's ends --- */

/* The disk holds the original's packets, which it delivers itself. Before the new certificate is on disk: no restart sends them. */
void
enroll_new_identity(struct enroll *e)
{
	uint64_t bytes;

	if (!e->cloned && !e->cloned_by_collector)
		return;
	if ((bytes = backlog_discard_old(&e->link->tap[0].backlog)) > 0)
		log_warn("%llu bytes of packets on the disk are the original's, which delivers them itself: discarded",
		    (unsigned long long)bytes);
}

/* What was before is another VM's; CREDENTIALS follow. */
void
enroll_granted(struct enroll *e)
{
	struct link *link = e->link;

	explicit_bzero(&e->token, sizeof(e->token));
	e->cloned = e->cloned_by_collector = e->revoked = false;
	e->expired = 0;
	e->refusals = 0;
	e->known = false;
	tls_context_free(link->tls);
	link->tls = NULL;
	dial_stop(link->dial);
}

/* In its own words, once; the token waits for a better one. What the collector took for a copy is none, if it has nothing new. */
void
enroll_refused(struct enroll *e, const char *why)
{
	uint64_t delay_ms = (uint64_t)REFUSED_MS << (e->refusals < REFUSED_STEPS ? e->refusals : REFUSED_STEPS);

	if (e->refusals == 0)
		log_error("enrolment is refused: %s; the token in %s is tried again now and then, and a new one at once", why,
		    e->link->options.token_file);
	e->refusals++;
	e->token.refused = true;
	link_timer_set(e->again, (delay_ms + link_random(delay_ms / 10)) * LINK_MS);
	if (e->cloned_by_collector) {
		e->cloned_by_collector = false;
		credentials_request(e->link);
	}
	enroll_review(e->link);
}

static void
on_again(evutil_socket_t fd, short what, void *arg)
{
	struct enroll *e = arg;

	(void)fd;
	(void)what;
	e->token.refused = false;
	enroll_review(e->link);
}

/* --- sessions --- */

/* Who this VM is is the collectors' to say, not of operators who pull from it. */
void
enroll_session_ended(struct link *link, const struct session *s)
{
	struct enroll *e = link->enroll;

	if (e == NULL || s->peer.role != ROLE_COLLECTOR)
		return;
	if (s->peer_error == MSG_ERR_REVOKED) {
		e->revoked = true;
		memcpy(e->revoked_certificate, s->certificate, sizeof(e->revoked_certificate));
	} else if (s->peer_error == MSG_ERR_CLONE && has_token(e) && !e->cloned) {
		e->cloned_by_collector = true;
		strcpy(e->cloned_why, "the collector has a session with another machine of this identity");
	} else
		return;
	enroll_review(link);
}

void
enroll_session_live(struct link *link, const struct session *s)
{
	struct enroll *e = link->enroll;

	if (e == NULL || !e->revoked || memcmp(s->certificate, e->revoked_certificate, sizeof(e->revoked_certificate)) != 0)
		return;
	e->revoked = false;
	enroll_review(link);
}

/* --- life --- */

static void
on_clock_stepped(void *arg)
{
	struct enroll *e = arg;

	enroll_call_now(e->call);
	credentials_request(e->link);
	dial_hurry(e->link->dial);
}

void
enroll_options(struct link *link)
{
	struct enroll *e = link->enroll;
	bool managed = link->options.enroll != NULL;

	if (e == NULL)
		return;
	/* Another collector or fingerprint may grant what this one did not. */
	enroll_call_stop(e->call);
	e->token.refused = false;
	e->known = !managed || (e->managed && e->known);
	if (managed != e->managed)
		renew_managed(link);
	e->managed = managed;
}

struct enroll *
enroll_new(struct link *link)
{
	struct enroll *e = calloc(1, sizeof(*e));

	if (e == NULL)
		fatal("out of memory");
	e->link = link;
	e->managed = link->options.enroll != NULL;
	e->known = !e->managed;
	e->again = link_timer_new(link, on_again, e);
	e->call = enroll_call_new(e);
	if ((e->clock = clockwatch_new(link->base, on_clock_stepped, e)) == NULL)
		log_warn("that the clock is set will be noticed late: %s", strerror(errno));
	return e;
}

void
enroll_free(struct enroll *e)
{
	if (e == NULL)
		return;
	enroll_call_free(e->call);
	event_free(e->again);
	clockwatch_free(e->clock);
	tls_key_free(e->pending);
	explicit_bzero(e, sizeof(*e));
	free(e);
}
