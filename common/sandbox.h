/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#ifndef VMTAP_COMMON_SANDBOX_H
#define VMTAP_COMMON_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

/* Rights given up for good; each process decides which. Call while there is one thread. All: 0, or -1 with one line in error. */
#define SANDBOX_ERROR_SIZE	256

/*
 * As root: becomes user and its primary group, and nothing else; by any other user: stays who it is. Keeps no capability but, if
 * asked, CAP_NET_RAW (-1 if it is not there to be kept). Nothing that is executed later gets more (no_new_privs), and no process of
 * the same user may look inside (not dumpable; but for builds with the address sanitizer, whose leak check does just that).
 */
int	sandbox_drop_user(const char *user, bool keep_net_raw, char *error, size_t error_size);

/*
 * A seccomp filter over all threads, which cannot be taken off again. What it does not allow fails with EPERM.
 * Either may read and write what is open, map memory, wait, and open files for reading; neither may execute, fork, trace, create,
 * remove or write files by name, or listen.
 * CAPTURE opens packet sockets (with libpcap, after this call too) and no others that could be connected; no new executable memory.
 * LINK connects and accepts in the Unix and IP families and asks rtnetlink, resolves names, starts threads; no packet sockets.
 *
 * READ is another kind: it forbids what is named here, and may do the rest. No socket of any kind, so that no name is resolved; nothing
 * is executed; no other process is traced, looked into or signalled.
 */
enum sandbox_profile { SANDBOX_CAPTURE, SANDBOX_LINK, SANDBOX_READ };
int	sandbox_seccomp(enum sandbox_profile, char *error, size_t error_size);

/* The address sanitizer, which needs a few rights more. */
#if defined(__SANITIZE_ADDRESS__)
#define SANDBOX_FOR_ASAN	1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANDBOX_FOR_ASAN	1
#endif
#endif
#ifndef SANDBOX_FOR_ASAN
#define SANDBOX_FOR_ASAN	0
#endif

#endif
