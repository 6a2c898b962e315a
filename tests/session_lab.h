/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_SESSION_LAB_H
#define VMTAP_TESTS_SESSION_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/conf.h"
#include "proto/frame.h"
#include "proto/msg.h"

#include "collector/store.h"
#include "collector/worker.h"

#include "tests/tls_lab.h"

/* A collector's workers, as they are, and agents by script that speak to them over TLS. What fails in here fails the test. */

struct session_lab {
	char		 path[64];
	struct store	 store;
	struct workers	 workers;
	struct conf_list tenants;
	struct event_base *base;	/* the agents' and the main thread's */
	struct event	*mailbox;
	unsigned	 turn;
	unsigned	 stopped;
};
extern struct session_lab session_lab;

void	session_lab_open(void);
void	session_lab_stop(void);		/* SIGTERM's way: until all workers have ended */
void	session_lab_close(void);
void	session_lab_run(void);		/* until something has happened */
/* The next note of this kind that workers tell the main thread; caller frees. */
struct note *session_lab_note(enum note_kind);
int64_t	session_lab_number(const char *sql);

struct agent {
	struct lab_end	 end;
	struct tls_context *tls;
	uint8_t		 instance;
	struct buf	 out;
	struct frame	 frame;		/* the last one waited for; payload in data */
	uint8_t		 data[128 * 1024];
};

/* Connects with the good CA's certificate of name; the handshake is done when it returns. */
void	agent_open(struct agent *, const char *name, uint8_t instance);
/* The same by a context, which is taken. */
void	agent_open_context(struct agent *, struct tls_context *, uint8_t instance);
void	agent_close(struct agent *);
/* What has been put to out. */
void	agent_send(struct agent *);
void	agent_send_bytes(struct agent *, const void *, size_t);
/* HELLO with one stream (its id's first byte; 0: none), of blocks from first on; then WELCOME comes, with the durable number. */
void	agent_put_hello(struct agent *, uint8_t stream, uint64_t first);
uint64_t agent_hello(struct agent *, uint8_t stream);
void	agent_put_interface(struct agent *, uint8_t stream, uint32_t id);
/* One packet in it, not compressed. */
void	agent_put_block(struct agent *, uint8_t stream, uint64_t number);
void	agent_put_mark(struct agent *, enum frame_type, uint8_t stream, uint64_t number);
/* Runs until a frame of this type is there (others are passed over; PINGs too, unanswered). */
void	agent_wait(struct agent *, enum frame_type);
void	agent_wait_ack(struct agent *, uint64_t number);
/* ERROR with this code and words in its text, then the end. */
void	agent_wait_error(struct agent *, enum msg_error, const char *words);
void	agent_wait_closed(struct agent *);

#endif
