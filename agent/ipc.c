/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/queue.h>
#include <sys/socket.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/buf.h"
#include "common/log.h"

#include "agent/ipc.h"

#define IPC_HEADER_SIZE	4		/* u32 type, big-endian; the payload follows in the same packet */
#define IPC_QUEUE_MAX	(1024u * 1024)	/* bytes that wait for a full socket */
#define IPC_QUEUE_COUNT	256
#define IPC_BURST	32		/* messages taken in one wake-up before others have their turn */

struct ipc_packet {
	TAILQ_ENTRY(ipc_packet) entry;
	int		 fd[IPC_FDS_MAX];
	size_t		 fd_count;
	size_t		 length;
	uint8_t		 data[];
};
TAILQ_HEAD(ipc_queue, ipc_packet);

struct ipc {
	int		 fd;
	struct event	*readable, *writable;
	const struct ipc_callbacks *callbacks;
	void		*arg;
	struct ipc_queue queue;
	size_t		 queue_bytes, queue_count;
	unsigned	 busy;		/* callbacks running: ipc_free() is put off until they returned */
	bool		 freed, closed;
	uint8_t		*input;		/* IPC_HEADER_SIZE + IPC_SIZE_MAX; its pages are there once used */
};

static void
ipc_close_fds(const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (fds[i] != -1)
			close(fds[i]);
}

static void
ipc_packet_free(struct ipc_packet *packet)
{
	ipc_close_fds(packet->fd, packet->fd_count);
	explicit_bzero(packet->data, packet->length);	/* it may have been a key */
	free(packet);
}

static void
ipc_queue_clear(struct ipc *ipc)
{
	struct ipc_packet *packet;

	while ((packet = TAILQ_FIRST(&ipc->queue)) != NULL) {
		TAILQ_REMOVE(&ipc->queue, packet, entry);
		ipc_packet_free(packet);
	}
	ipc->queue_bytes = ipc->queue_count = 0;
}

static void
ipc_destroy(struct ipc *ipc)
{
	if (ipc->readable != NULL)
		event_free(ipc->readable);
	if (ipc->writable != NULL)
		event_free(ipc->writable);
	ipc_queue_clear(ipc);
	if (ipc->fd != -1)
		close(ipc->fd);
	free(ipc->input);
	free(ipc);
}

void
ipc_free(struct ipc *ipc)
{
	if (ipc == NULL)
		return;
	if (ipc->busy > 0)
		ipc->freed = true;
	else
		ipc_destroy(ipc);
}

static void
ipc_leave(struct ipc *ipc)
{
	if (--ipc->busy == 0 && ipc->freed)
		ipc_destroy(ipc);
}

static void
ipc_report_closed(struct ipc *ipc)
{
	if (ipc->closed || ipc->freed)
		return;
	ipc->closed = true;
	event_del(ipc->readable);
	event_del(ipc->writable);
	ipc_queue_clear(ipc);
	ipc->callbacks->closed(ipc, ipc->arg);
}

static ssize_t
ipc_sendmsg(int fd, const void *data, size_t length, const int *fds, size_t fd_count)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = length };
	union {
		struct cmsghdr	align;
		char		bytes[CMSG_SPACE(sizeof(int) * IPC_FDS_MAX)];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;
	ssize_t n;

	if (fd_count > 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fd_count);
	}
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n == -1 && errno == EINTR);
	return n;
}

static void
ipc_on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct ipc *ipc = arg;
	struct ipc_packet *packet;

	(void)what;
	while ((packet = TAILQ_FIRST(&ipc->queue)) != NULL) {
		if (ipc_sendmsg(fd, packet->data, packet->length, packet->fd, packet->fd_count) == -1 &&
		    (errno == EAGAIN || errno == ENOBUFS)) {
			event_add(ipc->writable, NULL);
			return;
		}
		/* Any other failure means that the reader is gone, which reading will tell. */
		TAILQ_REMOVE(&ipc->queue, packet, entry);
		ipc->queue_bytes -= packet->length;
		ipc->queue_count--;
		ipc_packet_free(packet);
	}
}

static int
ipc_enqueue(struct ipc *ipc, struct ipc_packet *packet, const int *fds, size_t fd_count)
{
	if (ipc->queue_bytes + packet->length > IPC_QUEUE_MAX || ipc->queue_count >= IPC_QUEUE_COUNT) {
		errno = ENOBUFS;
		return -1;
	}
	for (; packet->fd_count < fd_count; packet->fd_count++)
		if ((packet->fd[packet->fd_count] = fcntl(fds[packet->fd_count], F_DUPFD_CLOEXEC, 0)) == -1)
			return -1;
	if (event_add(ipc->writable, NULL) == -1)
		return -1;
	TAILQ_INSERT_TAIL(&ipc->queue, packet, entry);
	ipc->queue_bytes += packet->length;
	ipc->queue_count++;
	return 0;
}

int
ipc_send(struct ipc *ipc, enum ipc_type type, const void *payload, size_t length, const int *fds, size_t fd_count)
{
	struct ipc_packet *packet;
	const uint8_t header[IPC_HEADER_SIZE] = { 0, 0, 0, (uint8_t)type };

	if (length > IPC_SIZE_MAX || fd_count > IPC_FDS_MAX) {
		errno = EMSGSIZE;
		return -1;
	}
	if (ipc->closed || ipc->freed) {
		errno = EPIPE;
		return -1;
	}
	if ((packet = malloc(sizeof(*packet) + IPC_HEADER_SIZE + length)) == NULL)
		return -1;
	packet->fd_count = 0;
	packet->length = IPC_HEADER_SIZE + length;
	memcpy(packet->data, header, IPC_HEADER_SIZE);
	if (length > 0)
		memcpy(packet->data + IPC_HEADER_SIZE, payload, length);

	if (TAILQ_EMPTY(&ipc->queue)) {
		if (ipc_sendmsg(ipc->fd, packet->data, packet->length, fds, fd_count) != -1) {
			ipc_packet_free(packet);
			return 0;
		}
		if (errno != EAGAIN && errno != ENOBUFS)
			goto fail;
	}
	if (ipc_enqueue(ipc, packet, fds, fd_count) == 0)
		return 0;
fail:
	ipc_packet_free(packet);
	return -1;
}

/* All descriptors that came along, even more than were asked for; those beyond IPC_FDS_MAX are closed. -1: too many. */
static int
ipc_take_fds(struct msghdr *msg, struct ipc_message *message)
{
	struct cmsghdr *cmsg;
	size_t count;
	int fd, result = 0;

	for (cmsg = CMSG_FIRSTHDR(msg); cmsg != NULL; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
			if (message->fd_count < IPC_FDS_MAX) {
				message->fd[message->fd_count++] = fd;
			} else {
				close(fd);
				result = -1;
			}
		}
	}
	return result;
}

static int
ipc_decode_header(const uint8_t *data, size_t length, struct ipc_message *message)
{
	struct cursor cursor;
	uint32_t type;

	cursor_init(&cursor, data, length);
	if (cursor_u32(&cursor, &type) == -1 || type == 0 || type >= IPC_TYPE_MAX)
		return -1;
	message->type = (enum ipc_type)type;
	message->payload = cursor.p;
	message->length = cursor.left;
	return 0;
}

/* 1: a message; 0: nothing there now; -1: the end, or what no vmtap process sends. */
static int
ipc_receive(struct ipc *ipc, struct ipc_message *message)
{
	struct iovec iov = { .iov_base = ipc->input, .iov_len = IPC_HEADER_SIZE + IPC_SIZE_MAX };
	union {
		struct cmsghdr	align;
		char		bytes[CMSG_SPACE(sizeof(int) * IPC_FDS_MAX)];
	} control;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control) };
	ssize_t n;

	memset(message, 0, sizeof(*message));
	for (size_t i = 0; i < IPC_FDS_MAX; i++)
		message->fd[i] = -1;
	do
		n = recvmsg(ipc->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n == -1 && errno == EINTR);
	if (n == -1)
		return errno == EAGAIN ? 0 : -1;
	if (ipc_take_fds(&msg, message) == 0 && (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 && n > 0 &&
	    ipc_decode_header(ipc->input, (size_t)n, message) == 0)
		return 1;
	ipc_close_fds(message->fd, IPC_FDS_MAX);
	if (n > 0)
		log_warn("malformed message of %zd bytes from another process of this agent: closing the connection to it", n);
	return -1;
}

static void
ipc_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct ipc *ipc = arg;
	struct ipc_message message;
	int got = 0;

	(void)fd;
	(void)what;
	ipc->busy++;
	for (unsigned i = 0; i < IPC_BURST && !ipc->freed; i++) {
		if ((got = ipc_receive(ipc, &message)) != 1)
			break;
		ipc->callbacks->message(ipc, &message, ipc->arg);
		ipc_close_fds(message.fd, IPC_FDS_MAX);
		explicit_bzero(ipc->input, IPC_HEADER_SIZE + message.length);
	}
	if (got == -1)
		ipc_report_closed(ipc);
	ipc_leave(ipc);
}

struct ipc *
ipc_new(struct event_base *base, int fd, const struct ipc_callbacks *callbacks, void *arg)
{
	struct ipc *ipc;
	int size = 2 * IPC_SIZE_MAX;

	if ((ipc = calloc(1, sizeof(*ipc))) == NULL)
		return NULL;
	ipc->fd = -1;
	ipc->callbacks = callbacks;
	ipc->arg = arg;
	TAILQ_INIT(&ipc->queue);
	ipc->input = malloc(IPC_HEADER_SIZE + IPC_SIZE_MAX);
	ipc->readable = event_new(base, fd, EV_READ | EV_PERSIST, ipc_on_readable, ipc);
	ipc->writable = event_new(base, fd, EV_WRITE, ipc_on_writable, ipc);
	if (ipc->input == NULL || ipc->readable == NULL || ipc->writable == NULL || event_add(ipc->readable, NULL) == -1) {
		ipc_destroy(ipc);
		return NULL;
	}
	/* The largest message must fit; where the system's limit is lower, sending it says EMSGSIZE. */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	ipc->fd = fd;
	return ipc;
}
