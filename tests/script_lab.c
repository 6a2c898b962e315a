/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/log.h"

#include "collector/pki.h"

#include "tests/script_lab.h"

#define PATH_SIZE	256
#define CONTEXTS_MAX	8
#define YEAR		(365 * 86400)

static char folder[64];

/* A long quarantine of what was freed, as is usual, is fresh memory all the time, which costs more than all else together. */
const char	*__asan_default_options(void);
const char *
__asan_default_options(void)
{
	return "quarantine_size_mb=4:thread_local_quarantine_size_kb=256:malloc_context_size=8:max_malloc_fill_size=64";
}

void
script_failed(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
	abort();
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)ftw;
	return type == FTW_DP ? rmdir(path) : unlink(path);
}

static void
remove_folder(void)
{
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int
remove_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)ftw;
	return type == FTW_D || type == FTW_DP ? 0 : unlink(path);
}

void
script_remove_files(const char *below)
{
	nftw(below, remove_file, 16, FTW_PHYS);
}

const char *
script_folder(void)
{
	if (folder[0] != '\0')
		return folder;
	snprintf(folder, sizeof(folder), "%s/vmtap-fuzz.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	script_assert(mkdtemp(folder) != NULL);
	atexit(remove_folder);
	log_init("fuzz", (enum log_level)-1);
	return folder;
}

/* --- certificates --- */

static const char *
certificate_path(const char *name, const char *suffix)
{
	static char path[3][PATH_SIZE];
	static unsigned at;

	at = (at + 1) % 3;
	snprintf(path[at], PATH_SIZE, "%s/pki/%s%s", script_folder(), name, suffix);
	return path[at];
}

/* UUIDs are the same in each run, so that the same input takes the same way. */
static void
issue(enum identity_role role, const char *tenant, const char *name)
{
	time_t now = time(NULL);
	struct pki_request request = { .not_before = now - 300, .not_after = now + YEAR / 2, .algorithm = PKI_P256,
	    .identity = { .role = role } };
	struct pki_made made;
	char error[PKI_ERROR_SIZE] = "";

	snprintf(request.identity.tenant, sizeof(request.identity.tenant), "%s", tenant);
	snprintf(request.identity.name, sizeof(request.identity.name), "%s", name);
	if (role == ROLE_AGENT)
		snprintf(request.identity.uuid, sizeof(request.identity.uuid), "11111111-2222-4333-8444-%012x",
		    (unsigned char)name[strlen(name) - 1]);
	if (access(certificate_path("ca", ".crt"), F_OK) == -1)
		script_assert(pki_init(certificate_path("", ""), PKI_P256, now - YEAR, now + YEAR, &made, error) == 0);
	if (pki_issue(certificate_path("", ""), &request, &made, error) == -1)
		script_failed(error, name, 0);
}

static struct tls_context *
load_context(const char *name, const char *alpn)
{
	char error[TLS_ERROR_SIZE] = "";
	struct tls_context *context = tls_context_load(certificate_path("ca", ".crt"), certificate_path(name, ".crt"),
	    certificate_path(name, ".key"), alpn, error);

	if (context == NULL)
		script_failed(error, name, 0);
	return context;
}

struct tls_context *
script_context(enum identity_role role, const char *tenant, const char *name)
{
	static struct tls_context *context[CONTEXTS_MAX];
	static const char *names[CONTEXTS_MAX];
	size_t i;

	for (i = 0; i < CONTEXTS_MAX && names[i] != NULL; i++)
		if (strcmp(names[i], name) == 0)
			return context[i];
	script_assert(i < CONTEXTS_MAX);
	issue(role, tenant, name);
	context[i] = load_context(name, FRAME_ALPN);
	names[i] = name;
	return context[i];
}

/* It is not asked for its certificate. */
struct tls_context *
script_stranger(void)
{
	static struct tls_context *context;

	if (context == NULL) {
		issue(ROLE_AGENT, "acme", "stranger");
		context = load_context("stranger", FRAME_ALPN_ENROLL);
	}
	return context;
}

/* --- the input --- */

uint8_t
script_u8(struct cursor *cursor)
{
	uint8_t value = 0;

	cursor_u8(cursor, &value);
	return value;
}

uint16_t
script_u16(struct cursor *cursor)
{
	uint16_t value = 0;

	if (cursor_u16(cursor, &value) == -1)
		value = script_u8(cursor);
	return value;
}

uint64_t
script_number(struct cursor *cursor)
{
	static const uint64_t large[] = { UINT64_MAX, INT64_MAX, UINT64_MAX - 1, (uint64_t)INT64_MAX - 1, UINT32_MAX,
	    (uint64_t)INT64_MAX + 1, UINT64_C(1) << 32, 65535 };
	uint8_t value = script_u8(cursor);
	uint64_t number = 0;

	if (value < 0xf0)
		return value;
	if (value < 0xf8)
		return large[value - 0xf0];
	cursor_u64(cursor, &number);
	return number;
}

size_t
script_bytes(struct cursor *cursor, uint8_t *dst, size_t max)
{
	size_t len = script_u8(cursor);

	if (len > max)
		len = max;
	if (len > cursor->left)
		len = cursor->left;
	cursor_bytes(cursor, dst, len);
	return len;
}

void
script_spoil(struct cursor *cursor, uint8_t *data, size_t len)
{
	unsigned times = script_u8(cursor) % 16;

	/* Mostly nothing is spoilt. */
	for (unsigned i = 8; len > 0 && i < times; i++) {
		size_t at = script_u16(cursor) % len;

		data[at] ^= script_u8(cursor);
	}
}

/* --- the peer --- */

void
script_loop(struct event_base *base, unsigned times)
{
	while (times-- > 0)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static void
peer_opened(struct tlsio *io, void *arg)
{
	struct script_peer *peer = arg;

	(void)io;
	peer->opened = true;
}

static void
peer_readable(struct tlsio *io, void *arg)
{
	struct script_peer *peer = arg;
	struct buf *input = tlsio_input(io);
	enum frame_error error;
	struct frame frame;

	while ((error = frame_parse(input->data, input->len, &frame)) == FRAME_OK) {
		if (peer->frame != NULL)
			peer->frame(peer, &frame);
		buf_consume(input, FRAME_HEADER_SIZE + frame.length);
	}
	script_assert(error == FRAME_MORE);
	tlsio_input_taken(io);
}

static void
peer_closed(struct tlsio *io, const char *why, void *arg)
{
	struct script_peer *peer = arg;

	(void)io;
	(void)why;
	peer->closed = true;
}

int
script_peer_open(struct script_peer *peer, struct event_base *base, struct tls_context *context, enum tlsio_side side)
{
	static const struct tlsio_callbacks callbacks = { .opened = peer_opened, .readable = peer_readable, .closed = peer_closed };
	const struct tlsio_options options = { .side = side, .handshake_ms = 1000000, .input_max = 1024 * 1024,
	    .read_budget = 1024 * 1024 };
	int fd[2];

	script_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
	peer->opened = peer->closed = false;
	buf_init(&peer->out, 1024 * 1024);
	peer->io = tlsio_new(base, context, fd[0], &options, &callbacks, peer);
	script_assert(peer->io != NULL);
	return fd[1];
}

/* What does not fit is not sent: the near end does not read, or closes. */
void
script_peer_send(struct script_peer *peer, size_t but)
{
	if (peer->io != NULL && peer->opened && !peer->closed && but < peer->out.len)
		tlsio_write(peer->io, peer->out.data, peer->out.len - but);
	buf_consume(&peer->out, peer->out.len);
}

void
script_peer_close(struct script_peer *peer)
{
	tlsio_free(peer->io);
	peer->io = NULL;
	buf_clear(&peer->out);
}
