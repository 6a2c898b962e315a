/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>

#include "common/log.h"

#include "agent/ipc.h"
#include "proto/counter.h"
#include "proto/rpcap.h"

static struct event_base *base;
static struct ipc *a, *b;

/* What b received last. */
static struct {
	unsigned	 count, closed;
	enum ipc_type	 type;
	uint8_t		*payload;
	size_t		 length, fd_count;
	int		 taken;		/* a descriptor taken from the message */
	bool		 take, free_self;
} got;

static void
free_self(struct ipc *ipc)
{
	if (ipc == a)
		a = NULL;
	else
		b = NULL;
	ipc_free(ipc);
}

static void
on_message(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	ck_assert_ptr_eq(arg, &got);
	got.count++;
	got.type = message->type;
	got.length = message->length;
	got.fd_count = message->fd_count;
	free(got.payload);
	got.payload = malloc(message->length + 1);
	ck_assert_ptr_nonnull(got.payload);
	memcpy(got.payload, message->payload, message->length);
	if (got.take && message->fd_count > 0) {
		got.taken = message->fd[0];
		message->fd[0] = -1;
	}
	if (got.free_self)
		free_self(ipc);
}

static void
on_closed(struct ipc *ipc, void *arg)
{
	ck_assert_ptr_eq(arg, &got);
	got.closed++;
	if (got.free_self)
		free_self(ipc);
}

static const struct ipc_callbacks callbacks = { .message = on_message, .closed = on_closed };

static void
setup(void)
{
	int pair[2];

	log_set_level(LOG_LEVEL_ERROR);
	memset(&got, 0, sizeof(got));
	got.taken = -1;
	base = event_base_new();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	a = ipc_new(base, pair[0], &callbacks, &got);
	b = ipc_new(base, pair[1], &callbacks, &got);
	ck_assert_ptr_nonnull(a);
	ck_assert_ptr_nonnull(b);
}

static void
teardown(void)
{
	ipc_free(a);
	ipc_free(b);
	if (got.taken != -1)
		close(got.taken);
	free(got.payload);
	event_base_free(base);
}

static unsigned
count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

/* Until nothing is left to do at once. */
static void
settle(void)
{
	for (unsigned i = 0; i < 20; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

START_TEST(test_message)
{
	ck_assert_int_eq(ipc_send(a, IPC_READY, "abc", 3, NULL, 0), 0);
	settle();
	ck_assert_uint_eq(got.count, 1);
	ck_assert_int_eq(got.type, IPC_READY);
	ck_assert_uint_eq(got.length, 3);
	ck_assert_mem_eq(got.payload, "abc", 3);
	ck_assert_uint_eq(got.fd_count, 0);
	ck_assert_int_eq(ipc_send(a, IPC_DUMP, NULL, 0, NULL, 0), 0);
	settle();
	ck_assert_int_eq(got.type, IPC_DUMP);
	ck_assert_uint_eq(got.length, 0);
}
END_TEST

START_TEST(test_largest)
{
	uint8_t *payload = calloc(1, IPC_SIZE_MAX + 1);

	payload[IPC_SIZE_MAX - 1] = 7;
	ck_assert_int_eq(ipc_send(a, IPC_TAP, payload, IPC_SIZE_MAX + 1, NULL, 0), -1);
	ck_assert_int_eq(errno, EMSGSIZE);
	ck_assert_int_eq(ipc_send(a, IPC_TAP, payload, IPC_SIZE_MAX, NULL, 0), 0);
	settle();
	ck_assert_uint_eq(got.length, IPC_SIZE_MAX);
	ck_assert_mem_eq(got.payload, payload, IPC_SIZE_MAX);
	free(payload);
}
END_TEST

START_TEST(test_descriptors)
{
	unsigned before = count_fds();
	int fds[IPC_FDS_MAX + 1];

	for (unsigned i = 0; i <= IPC_FDS_MAX; i++)
		fds[i] = STDERR_FILENO;
	ck_assert_int_eq(ipc_send(a, IPC_CREDENTIALS, NULL, 0, fds, IPC_FDS_MAX + 1), -1);
	ck_assert_int_eq(ipc_send(a, IPC_CREDENTIALS, NULL, 0, fds, IPC_FDS_MAX), 0);
	settle();
	ck_assert_uint_eq(got.fd_count, IPC_FDS_MAX);
	/* Nobody took them. */
	ck_assert_uint_eq(count_fds(), before);
	got.take = true;
	ck_assert_int_eq(ipc_send(a, IPC_CREDENTIALS, NULL, 0, fds, IPC_FDS_MAX), 0);
	settle();
	ck_assert_uint_eq(count_fds(), before + 1);
	ck_assert_int_eq(fcntl(got.taken, F_GETFD), FD_CLOEXEC);
}
END_TEST

/* What does not fit the socket waits, in order, with duplicates of its descriptors; beyond the bound it is refused. */
START_TEST(test_queue)
{
	unsigned before = count_fds(), sent = 0;
	uint8_t payload[20000] = { 0 };
	int fd;

	for (;; sent++) {
		memcpy(payload, &sent, sizeof(sent));
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		ck_assert_int_ne(fd, -1);
		int result = ipc_send(a, IPC_PEER, payload, sizeof(payload), &fd, 1);
		close(fd);
		if (result == -1)
			break;
		ck_assert_uint_lt(sent, 1000);
	}
	ck_assert_int_eq(errno, ENOBUFS);
	ck_assert_uint_gt(sent, 30);
	ck_assert_uint_gt(count_fds(), before);
	while (got.count < sent)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_mem_eq(got.payload, (unsigned[]){ sent - 1 }, sizeof(unsigned));
	settle();
	ck_assert_uint_eq(count_fds(), before);
	ck_assert_uint_eq(got.count, sent);
}
END_TEST

START_TEST(test_queue_freed)
{
	unsigned before = count_fds();
	uint8_t payload[20000] = { 0 };
	int fd = STDERR_FILENO;

	while (ipc_send(a, IPC_PEER, payload, sizeof(payload), &fd, 1) == 0)
		;
	ipc_free(a);
	ipc_free(b);
	a = b = NULL;
	ck_assert_uint_eq(count_fds(), before - 2);
}
END_TEST

START_TEST(test_closed)
{
	ck_assert_int_eq(ipc_send(a, IPC_READY, NULL, 0, NULL, 0), 0);
	ipc_free(a);
	a = NULL;
	settle();
	ck_assert_uint_eq(got.count, 1);
	ck_assert_uint_eq(got.closed, 1);
	ck_assert_int_eq(ipc_send(b, IPC_READY, NULL, 0, NULL, 0), -1);
	ck_assert_int_eq(errno, EPIPE);
}
END_TEST

START_TEST(test_freed_in_message)
{
	got.free_self = true;
	ck_assert_int_eq(ipc_send(a, IPC_READY, NULL, 0, (int[]){ STDERR_FILENO }, 1), 0);
	ck_assert_int_eq(ipc_send(a, IPC_READY, NULL, 0, NULL, 0), 0);
	settle();
	ck_assert_ptr_null(b);
	ck_assert_uint_ge(got.count, 1);
}
END_TEST

START_TEST(test_freed_in_closed)
{
	ipc_free(a);
	a = NULL;
	got.free_self = true;
	settle();
	ck_assert_ptr_null(b);
	ck_assert_uint_eq(got.closed, 1);
}
END_TEST

/* What no process of ours sends: each closes the connection, and no descriptor stays. */
static const struct {
	size_t	length, fd_count;
	uint8_t	bytes[5];
} malformed[] = {
	{ 3, 0, { 0, 0, 0 } },				/* no type */
	{ 4, 2, { 0, 0, 0, 0 } },			/* type 0 */
	{ 4, 1, { 0, 0, 0, IPC_TYPE_MAX } },
	{ 5, 1, { 1, 0, 0, IPC_READY } },
	{ 4, IPC_FDS_MAX + 1, { 0, 0, 0, IPC_READY } },	/* more descriptors than there is room for */
	{ 4, 200, { 0, 0, 0, IPC_READY } },
};

static void
send_raw(int fd, const void *data, size_t length, size_t fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 200)];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = length };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;
	int one = STDERR_FILENO;

	if (fd_count > 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		for (size_t i = 0; i < fd_count; i++)
			memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &one, sizeof(one));
	}
	ck_assert_int_eq((int)sendmsg(fd, &msg, 0), (int)length);
}

START_TEST(test_malformed)
{
	unsigned before;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ipc_free(b);
	b = ipc_new(base, pair[1], &callbacks, &got);
	before = count_fds();
	send_raw(pair[0], malformed[_i].bytes, malformed[_i].length, malformed[_i].fd_count);
	settle();
	ck_assert_uint_eq(got.count, 0);
	/* Twice: a also lost its peer. */
	ck_assert_uint_eq(got.closed, 2);
	ck_assert_uint_eq(count_fds(), before);
	close(pair[0]);
}
END_TEST

START_TEST(test_too_long)
{
	size_t length = IPC_SIZE_MAX + 5;
	uint8_t *data = calloc(1, length);
	int pair[2], size = 4 * IPC_SIZE_MAX;

	data[3] = IPC_READY;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	ipc_free(b);
	b = ipc_new(base, pair[1], &callbacks, &got);
	send_raw(pair[0], data, length, 0);
	settle();
	ck_assert_uint_eq(got.count, 0);
	ck_assert_uint_eq(got.closed, 2);
	close(pair[0]);
	free(data);
}
END_TEST

static struct ipc_tap *
tap_new(void)
{
	struct ipc_tap *tap = calloc(1, sizeof(*tap));

	ck_assert_ptr_nonnull(tap);
	tap->tap = 3;
	tap->version = 0x1122334455667788;
	tap->active = true;
	strcpy(tap->filter, "tcp port 80");
	tap->snaplen = 96;
	tap->direction = DIRECTION_OUT;
	tap->flush_ms = 20;
	tap->promiscuous = true;
	tap->sampling = (struct ipc_sampling){ .method = RPCAP_SAMPLE_AFTER_N_MS, .value = 100 };
	tap->program_len = 2;
	tap->program[0] = (struct ipc_insn){ .code = 0x15, .jt = 1, .jf = 2, .k = 0x800 };
	tap->program[1] = (struct ipc_insn){ .code = 0x06, .k = 0xffffffff };
	tap->slice = (struct slice){ .headers = true, .payload = 8 };
	tap->digest = true;
	memset(tap->secret, 0x5a, sizeof(tap->secret));
	tap->peer_count = 2;
	tap->peer[1] = (struct bpf_peer){ .family = AF_INET6, .address = { 9, 8 } };
	tap->balanced = true;
	tap->peers_until_ns = 0x8877665544332211;
	strcpy(tap->codec, "zstd:1");
	tap->own_count = 2;
	tap->own[0] = (struct ipc_endpoint){ .family = AF_INET6, .address = { 1, 2, 3 }, .port = 8827 };
	tap->own[1].port = 443;
	tap->own[1].udp = true;
	tap->interface_count = 2;
	for (unsigned i = 0; i < 2; i++) {
		struct ipc_tap_interface *interface = &tap->interface[i];

		interface->ifindex = i + 7;
		memcpy(interface->name, i == 0 ? "eth0" : "eth1", 5);
		interface->has_mac = true;
		memset(interface->mac, 0x42, sizeof(interface->mac));
		interface->ipv4_count = (uint8_t)(i + 1);
		interface->ipv6_count = (uint8_t)(8 * i);
		memset(interface->ipv4, 0x10, 8 * interface->ipv4_count);
		memset(interface->ipv6, 0x20, 17 * interface->ipv6_count);
		interface->paused = i == 1;
	}
	return tap;
}

static struct ipc_message
message_of(enum ipc_type type, const uint8_t *payload, size_t length)
{
	return (struct ipc_message){ .type = type, .payload = payload, .length = length, .fd = { -1, -1, -1 } };
}

START_TEST(test_tap)
{
	struct ipc_tap *tap = tap_new(), *back = calloc(1, sizeof(*back));
	struct ipc_message message;

	ck_assert_int_eq(ipc_send_tap(a, tap), 0);
	settle();
	message = message_of(got.type, got.payload, got.length);
	memset(back, 0xee, sizeof(*back));
	ck_assert_int_eq(ipc_get_tap(&message, back), 0);
	ck_assert_mem_eq(back, tap, sizeof(*tap));
	message.type = IPC_TAP_RESULT;
	ck_assert_int_eq(ipc_get_tap(&message, back), -1);
	ck_assert_int_eq(errno, EBADMSG);
	tap->interface[0].ipv6_count = 9;
	ck_assert_int_eq(ipc_send_tap(a, tap), -1);
	tap->interface[0].ipv6_count = 0;
	tap->program_len = IPC_PROGRAM_MAX + 1;
	ck_assert_int_eq(ipc_send_tap(a, tap), -1);
	tap->program_len = 0;
	tap->sampling.method = RPCAP_SAMPLE_AFTER_N_MS + 1;
	ck_assert_int_eq(ipc_send_tap(a, tap), -1);
	free(tap);
	free(back);
}
END_TEST

START_TEST(test_tap_copy)
{
	struct ipc_tap *tap = tap_new(), *copy = calloc(1, sizeof(*copy)), *empty = calloc(1, sizeof(*empty));

	ipc_tap_copy(copy, tap);
	ck_assert_mem_eq(copy, tap, sizeof(*tap));
	tap->program_len = IPC_PROGRAM_MAX;
	memset(tap->program, 0xa5, sizeof(tap->program));
	memset(&tap->interface[MSG_INTERFACES_MAX - 1], 0x5a, sizeof(tap->interface[0]));
	ipc_tap_copy(copy, tap);
	ck_assert_mem_eq(copy, tap, sizeof(*tap));
	ipc_tap_copy(copy, empty);
	ck_assert_mem_eq(copy, empty, sizeof(*empty));
	free(tap);
	free(copy);
	free(empty);
}
END_TEST

/* The largest one fits into a message. */
START_TEST(test_tap_full)
{
	struct ipc_tap *tap = tap_new(), *back = calloc(1, sizeof(*back));
	struct ipc_message message;

	memset(tap->filter, 'x', sizeof(tap->filter) - 1);
	memset(tap->codec, 'y', sizeof(tap->codec) - 1);
	tap->own_count = IPC_OWN_MAX;
	tap->peer_count = IPC_PEERS_MAX;
	tap->program_len = IPC_PROGRAM_MAX;
	memset(tap->program, 0xa5, sizeof(tap->program));
	tap->interface_count = MSG_INTERFACES_MAX;
	for (unsigned i = 0; i < MSG_INTERFACES_MAX; i++) {
		memset(tap->interface[i].name, 'z', sizeof(tap->interface[i].name) - 1);
		tap->interface[i].ipv4_count = tap->interface[i].ipv6_count = 8;
	}
	ck_assert_int_eq(ipc_send_tap(a, tap), 0);
	settle();
	message = message_of(got.type, got.payload, got.length);
	ck_assert_int_eq(ipc_get_tap(&message, back), 0);
	ck_assert_mem_eq(back, tap, sizeof(*tap));
	free(tap);
	free(back);
}
END_TEST

/* Decodes from memory that ends where the payload does. */
static int
get(enum ipc_type type, const uint8_t *payload, size_t length, void *out)
{
	uint8_t *copy = malloc(length > 0 ? length : 1);
	struct ipc_message message = message_of(type, copy, length);
	int result;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, payload, length);
	if (type == IPC_TAP)
		result = ipc_get_tap(&message, out);
	else if (type == IPC_LEASE)
		result = ipc_get_lease(&message, out);
	else if (type == IPC_TAP_RESULT)
		result = ipc_get_tap_result(&message, out);
	else if (type == IPC_LAST_STATS)
		result = ipc_get_last_stats(&message, &(uint8_t){ 0 }, out);
	else if (type == IPC_LINKTYPE || type == IPC_LINKTYPE_REQUEST)
		result = ipc_get_linktype(&message, out);
	else if (type == IPC_COUNTED || type == IPC_COUNT_REQUEST)
		result = ipc_get_count(&message, out);
	else
		result = ipc_get_interface_gone(&message, out);
	free(copy);
	return result;
}

/* No truncation and no byte more is taken; a flipped bit may give another message, but never a crash or a count out of bounds. */
static void
mangle(enum ipc_type type, const uint8_t *payload, size_t length, void *out)
{
	uint8_t *copy = calloc(1, length + 1);

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, payload, length);
	ck_assert_int_eq(get(type, copy, length, out), 0);
	for (size_t cut = 0; cut < length; cut++)
		ck_assert_int_eq(get(type, copy, cut, out), -1);
	ck_assert_int_eq(get(type, copy, length + 1, out), -1);
	for (size_t bit = 0; bit < length * 8; bit++) {
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (get(type, copy, length, out) == 0 && type == IPC_TAP) {
			ck_assert_uint_le(((struct ipc_tap *)out)->own_count, IPC_OWN_MAX);
			ck_assert_uint_le(((struct ipc_tap *)out)->interface_count, MSG_INTERFACES_MAX);
			ck_assert_uint_lt(((struct ipc_tap *)out)->tap, IPC_TAPS_MAX);
			ck_assert_uint_le(((struct ipc_tap *)out)->program_len, IPC_PROGRAM_MAX);
			ck_assert_uint_le(((struct ipc_tap *)out)->sampling.method, RPCAP_SAMPLE_AFTER_N_MS);
		}
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	free(copy);
}

START_TEST(test_tap_mangled)
{
	struct ipc_tap *tap = tap_new();

	ck_assert_int_eq(ipc_send_tap(a, tap), 0);
	settle();
	mangle(IPC_TAP, got.payload, got.length, tap);
	free(tap);
}
END_TEST

START_TEST(test_lease)
{
	struct ipc_lease lease = { .tap = 4, .peers_until_ns = 1ull << 40 }, back;

	ck_assert_int_eq(ipc_send_lease(a, &lease), 0);
	settle();
	ck_assert_int_eq(get(got.type, got.payload, got.length, &back), 0);
	ck_assert_uint_eq(back.tap, 4);
	ck_assert_uint_eq(back.peers_until_ns, lease.peers_until_ns);
	mangle(IPC_LEASE, got.payload, got.length, &back);
}
END_TEST

START_TEST(test_tap_result)
{
	struct ipc_tap_result result = { .tap = 4, .version = 9, .accepted = true, .reason = "why not" }, back;

	ck_assert_int_eq(ipc_send_tap_result(a, &result), 0);
	settle();
	ck_assert_int_eq(get(got.type, got.payload, got.length, &back), 0);
	ck_assert_uint_eq(back.tap, 4);
	ck_assert_uint_eq(back.version, 9);
	ck_assert(back.accepted);
	ck_assert_str_eq(back.reason, "why not");
	mangle(IPC_TAP_RESULT, got.payload, got.length, &back);
}
END_TEST

START_TEST(test_last_stats)
{
	struct msg_stat told[2] = { { COUNTER_OFFERED, 3, 1ull << 40 }, { COUNTER_FILTERED, 3, 7 } };
	struct msg_stats stats = { .stream = "0123456789abcde", .wall_ns = 5, .count = 2, .stat = told };
	static struct msg_stat stat[MSG_STATS_MAX];
	struct msg_stats back = { .stat = stat };
	struct ipc_message message;
	uint8_t tap = 0;

	ck_assert_int_eq(ipc_send_last_stats(a, 4, &stats), 0);
	settle();
	message = message_of(got.type, got.payload, got.length);
	ck_assert_int_eq(ipc_get_last_stats(&message, &tap, &back), 0);
	ck_assert_uint_eq(tap, 4);
	ck_assert_mem_eq(back.stream, stats.stream, MSG_ID_SIZE);
	ck_assert_uint_eq(back.count, 2);
	ck_assert_uint_eq(back.stat[0].value, told[0].value);
	ck_assert_uint_eq(back.stat[1].counter, COUNTER_FILTERED);
	mangle(IPC_LAST_STATS, got.payload, got.length, &back);
}
END_TEST

START_TEST(test_interface_gone)
{
	struct ipc_interface_gone gone = { .tap = 1, .ifindex = 77, .reason = "network is down" }, back;

	ck_assert_int_eq(ipc_send_interface_gone(a, &gone), 0);
	settle();
	ck_assert_int_eq(get(got.type, got.payload, got.length, &back), 0);
	ck_assert_uint_eq(back.tap, 1);
	ck_assert_uint_eq(back.ifindex, 77);
	ck_assert_str_eq(back.reason, "network is down");
	mangle(IPC_INTERFACE_GONE, got.payload, got.length, &back);
}
END_TEST

START_TEST(test_linktype)
{
	static const enum ipc_type types[] = { IPC_LINKTYPE_REQUEST, IPC_LINKTYPE };
	struct ipc_linktype linktype = { .ticket = 9, .ifindex = 77, .name = "eth0", .linktype = -1, .reason = "it is down" }, back;

	ck_assert_int_eq(ipc_send_linktype(a, types[_i], &linktype), 0);
	settle();
	ck_assert_int_eq(got.type, types[_i]);
	ck_assert_int_eq(get(got.type, got.payload, got.length, &back), 0);
	ck_assert_mem_eq(&back, &linktype, sizeof(back));
	mangle(types[_i], got.payload, got.length, &back);
	ck_assert_int_eq(ipc_get_linktype(&(struct ipc_message){ .type = IPC_COUNTED, .payload = got.payload,
	    .length = got.length }, &back), -1);
}
END_TEST

START_TEST(test_count)
{
	static const enum ipc_type types[] = { IPC_COUNT_REQUEST, IPC_COUNTED };
	uint8_t tap = 0;

	ck_assert_int_eq(ipc_send_count(a, types[_i], IPC_TAPS_MAX - 1), 0);
	settle();
	ck_assert_int_eq(got.type, types[_i]);
	ck_assert_int_eq(get(got.type, got.payload, got.length, &tap), 0);
	ck_assert_uint_eq(tap, IPC_TAPS_MAX - 1);
	mangle(types[_i], got.payload, got.length, &tap);
	ck_assert_int_eq(get(types[_i], (const uint8_t[]){ IPC_TAPS_MAX }, 1, &tap), -1);
}
END_TEST

START_TEST(test_shutdown)
{
	uint32_t left_ms = 0;

	ck_assert_int_eq(ipc_send_shutdown(a, 1234), 0);
	settle();
	ck_assert_int_eq(got.type, IPC_SHUTDOWN);
	for (size_t length = 0; length <= got.length; length++)
		ck_assert_int_eq(ipc_get_shutdown(&(struct ipc_message){ .type = got.type, .payload = got.payload, .length = length },
		    &left_ms), length == got.length ? 0 : -1);
	ck_assert_uint_eq(left_ms, 1234);
}
END_TEST

static Suite *
ipc_suite(void)
{
	Suite *suite = suite_create("ipc");
	TCase *tc = tcase_create("ipc");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_message);
	tcase_add_test(tc, test_largest);
	tcase_add_test(tc, test_descriptors);
	tcase_add_test(tc, test_queue);
	tcase_add_test(tc, test_queue_freed);
	tcase_add_test(tc, test_closed);
	tcase_add_test(tc, test_freed_in_message);
	tcase_add_test(tc, test_freed_in_closed);
	tcase_add_loop_test(tc, test_malformed, 0, sizeof(malformed) / sizeof(malformed[0]));
	tcase_add_test(tc, test_too_long);
	tcase_add_test(tc, test_tap);
	tcase_add_test(tc, test_tap_copy);
	tcase_add_test(tc, test_tap_full);
	tcase_add_test(tc, test_tap_mangled);
	tcase_add_test(tc, test_lease);
	tcase_add_test(tc, test_tap_result);
	tcase_add_test(tc, test_last_stats);
	tcase_add_test(tc, test_interface_gone);
	tcase_add_loop_test(tc, test_linktype, 0, 2);
	tcase_add_loop_test(tc, test_count, 0, 2);
	tcase_add_test(tc, test_shutdown);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	SRunner *runner = srunner_create(ipc_suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
