/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_TESTS_SCRIPT_LAB_H
#define VMTAP_TESTS_SCRIPT_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/tls.h"
#include "proto/frame.h"
#include "proto/identity.h"

struct event_base;

/*
 * What the fuzzers of whole programs share: the input is a script, which a peer (and the program's clock, disk and neighbours) plays.
 * All is one process and one thread. What cannot be set up ends the process with a line; a broken promise aborts.
 */
#define script_assert(what)	((what) ? (void)0 : script_failed(#what, __FILE__, __LINE__))
void		 script_failed(const char *what, const char *file, int line) __attribute__((noreturn));

/* In memory if there is such a place; made at the first call, removed at exit. Logs are silenced, too. */
const char	*script_folder(void);
void		 script_remove_files(const char *below);	/* all but folders, below a folder */

/* A certificate of the one CA, made at the first call of its name; holds what is returned until the process ends. */
struct tls_context *script_context(enum identity_role, const char *tenant, const char *name);
/* Of one that wants to enrol. */
struct tls_context *script_stranger(void);

/* As often as something happens, but for timers; a bounded number of times. */
void		 script_loop(struct event_base *, unsigned times);

/* From the input; 0 when there is nothing left. */
uint8_t		 script_u8(struct cursor *);
uint16_t	 script_u16(struct cursor *);
/* A small number, seldom a large one. */
uint64_t	 script_number(struct cursor *);
/* Up to max bytes of the input, their number first. */
size_t		 script_bytes(struct cursor *, uint8_t *, size_t max);
/* Changes a few bytes of what was built, at places that the input tells. */
void		 script_spoil(struct cursor *, uint8_t *, size_t len);

/* The far end of a connection. Frames go to frame() as they come; what is put to out leaves with script_peer_send(). */
struct script_peer {
	struct tlsio	*io;		/* NULL: none */
	bool		 opened, closed;
	struct buf	 out;
	void		(*frame)(struct script_peer *, const struct frame *);
	void		*more;
};
/* Returns the near end of a socket pair. */
int		 script_peer_open(struct script_peer *, struct event_base *, struct tls_context *, enum tlsio_side);
void		 script_peer_send(struct script_peer *, size_t but);	/* without the last bytes, as many as but */
void		 script_peer_close(struct script_peer *);

#endif
