/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>

#include "common/sandbox.h"

#ifndef HAVE_SECCOMP

int
sandbox_seccomp(enum sandbox_profile profile, char *error, size_t error_size)
{
	(void)profile;
	snprintf(error, error_size, "seccomp is not built in");
	return -1;
}

#else

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <seccomp.h>

#define SOCKET_TYPE_MASK	0xf	/* socket(2)'s type without SOCK_NONBLOCK and SOCK_CLOEXEC */
#define OPEN_WRITES		(O_ACCMODE | O_CREAT | O_TRUNC)
#define VMA_NAMING		0x53564d41	/* PR_SET_VMA, newer than some headers; malloc(3) names its memory by it */

/* Names, as numbers differ by architecture; one that this libseccomp does not know is one that nobody here calls. */
static const char *const for_all[] = {
	/* what is open */
	"read", "readv", "pread64", "preadv", "write", "writev", "pwrite64", "pwritev", "lseek", "_llseek", "close", "close_range",
	"dup", "dup2", "dup3", "fcntl", "fcntl64", "fstat", "fstat64", "fallocate", "pipe", "pipe2", "eventfd2",
	/* names, without changing anything */
	"stat", "stat64", "lstat", "lstat64", "newfstatat", "fstatat64", "statx", "access", "faccessat", "faccessat2", "readlink",
	"readlinkat", "getcwd", "getdents64", "statfs", "fstatfs", "uname",
	/* memory */
	"brk", "munmap", "mremap", "madvise", "mincore", "msync",
	/* waiting, time, signals */
	"poll", "ppoll", "ppoll_time64", "select", "_newselect", "pselect6", "pselect6_time64", "epoll_create1", "epoll_create",
	"epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "timerfd_create", "timerfd_settime", "timerfd_settime64",
	"timerfd_gettime", "nanosleep", "clock_nanosleep", "clock_nanosleep_time64", "clock_gettime", "clock_gettime64",
	"clock_getres", "clock_getres_time64", "gettimeofday", "time", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
	"sigreturn", "sigaltstack", "restart_syscall", "signalfd4",
	/* this process and its threads */
	"futex", "futex_time64", "set_robust_list", "rseq", "sched_yield", "sched_getaffinity", "sched_getparam",
	"sched_getscheduler", "getcpu", "getpid", "getppid", "gettid", "getuid", "getuid32", "geteuid", "geteuid32", "getgid",
	"getgid32", "getegid", "getegid32", "getgroups", "getgroups32", "getrusage", "times", "getrlimit", "ugetrlimit", "sysinfo",
	"getrandom", "membarrier", "exit", "exit_group",
	/* sockets, once they exist */
	"setsockopt", "getsockopt", "bind", "getsockname", "getpeername", "sendto", "send", "sendmsg", "sendmmsg", "recvfrom",
	"recv", "recvmsg", "recvmmsg", "shutdown",
	NULL
};
static const char *const for_link[] = { "connect", "listen", "accept", "accept4", "socketpair", "mmap", "mmap2", "mprotect",
	"ftruncate", "ftruncate64", NULL };
/* SANDBOX_READ: by name, so that what a library needs tomorrow is there. */
static const char *const not_for_read[] = { "socket", "socketpair", "socketcall", "connect", "bind", "listen", "accept", "accept4",
	"execve", "execveat", "process_vm_writev", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "io_uring_setup", "tkill",
	"rt_sigqueueinfo", "rt_tgsigqueueinfo", NULL };
static const char *const not_for_read_but_asan[] = { "ptrace", "process_vm_readv", "kill", NULL };
/* Leaks are looked for at exit by a clone that traces the other threads. */
static const char *const for_asan[] = {
	"clone", "ptrace", "wait4", "waitid", "prctl", "personality", "process_vm_readv", "arch_prctl", "mmap", "mmap2", "mprotect",
	"prlimit64", "kill", "tgkill", "getdents", NULL
};

struct rule {
	const char	*name;
	unsigned	 count;
	struct scmp_arg_cmp arg[3];
};

static const struct rule rules_for_all[] = {
	{ "open", 1, { { 1, SCMP_CMP_MASKED_EQ, OPEN_WRITES, 0 } } },
	{ "openat", 1, { { 2, SCMP_CMP_MASKED_EQ, OPEN_WRITES, 0 } } },
	{ "prlimit64", 1, { { 2, SCMP_CMP_EQ, 0, 0 } } },	/* asks, sets nothing */
	{ "prctl", 1, { { 0, SCMP_CMP_EQ, PR_SET_NAME, 0 } } },
	{ "prctl", 1, { { 0, SCMP_CMP_EQ, PR_GET_NAME, 0 } } },
	{ "prctl", 1, { { 0, SCMP_CMP_EQ, PR_GET_DUMPABLE, 0 } } },
	{ "prctl", 1, { { 0, SCMP_CMP_EQ, VMA_NAMING, 0 } } },
	{ "ioctl", 1, { { 1, SCMP_CMP_EQ, SIOCGIFINDEX, 0 } } },
	{ "ioctl", 1, { { 1, SCMP_CMP_EQ, SIOCGIFNAME, 0 } } },
	{ "ioctl", 1, { { 1, SCMP_CMP_EQ, SIOCGIFHWADDR, 0 } } },
	{ "ioctl", 1, { { 1, SCMP_CMP_EQ, SIOCGIFFLAGS, 0 } } },
	{ "ioctl", 1, { { 1, SCMP_CMP_EQ, SIOCGIFMTU, 0 } } },
	{ "ioctl", 1, { { 1, SCMP_CMP_EQ, SIOCETHTOOL, 0 } } },	/* what it could change needs CAP_NET_ADMIN */
	{ "ioctl", 1, { { 1, SCMP_CMP_EQ, FIONREAD, 0 } } },
	{ "ioctl", 1, { { 1, SCMP_CMP_EQ, FIONBIO, 0 } } },
	{ "ioctl", 1, { { 1, SCMP_CMP_EQ, SIOCOUTQ, 0 } } },
	{ "ioctl", 1, { { 1, SCMP_CMP_EQ, TCGETS, 0 } } },	/* isatty(3), and stdio's first write */
	{ NULL, 0, { { 0 } } }
};

/* libpcap asks a netlink or Unix socket of type SOCK_RAW about an interface's timestamps; connect(2) stays out. */
static const struct rule rules_for_capture[] = {
	{ "socket", 1, { { 0, SCMP_CMP_EQ, AF_PACKET, 0 } } },
	{ "socket", 3, { { 0, SCMP_CMP_EQ, AF_NETLINK, 0 }, { 1, SCMP_CMP_MASKED_EQ, SOCKET_TYPE_MASK, SOCK_RAW },
	    { 2, SCMP_CMP_EQ, NETLINK_GENERIC, 0 } } },
	{ "socket", 2, { { 0, SCMP_CMP_EQ, AF_UNIX, 0 }, { 1, SCMP_CMP_MASKED_EQ, SOCKET_TYPE_MASK, SOCK_RAW } } },
	{ "mmap", 1, { { 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0 } } },
	{ "mmap2", 1, { { 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0 } } },
	{ "mprotect", 1, { { 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0 } } },
	{ NULL, 0, { { 0 } } }
};

/* Threads of this process, no processes: glibc's getaddrinfo(3) and those who call it in a thread. */
static const struct rule rules_for_link[] = {
	{ "socket", 1, { { 0, SCMP_CMP_EQ, AF_UNIX, 0 } } },
	{ "socket", 1, { { 0, SCMP_CMP_EQ, AF_INET, 0 } } },
	{ "socket", 1, { { 0, SCMP_CMP_EQ, AF_INET6, 0 } } },
	{ "socket", 1, { { 0, SCMP_CMP_EQ, AF_NETLINK, 0 } } },
	{ "clone", 1, { { 0, SCMP_CMP_MASKED_EQ, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM } } },
	{ NULL, 0, { { 0 } } }
};

static int
add_rule(scmp_filter_ctx filter, uint32_t action, const struct rule *rule)
{
	int	 number = seccomp_syscall_resolve_name(rule->name);

	if (number == __NR_SCMP_ERROR)
		return 0;
	return seccomp_rule_add_array(filter, action, number, rule->count, rule->arg);
}

static int
add_names(scmp_filter_ctx filter, uint32_t action, const char *const *names)
{
	int	 failed = 0;

	for (; *names != NULL && failed == 0; names++)
		failed = add_rule(filter, action, &(struct rule){ .name = *names });
	return failed;
}

static int
add_rules(scmp_filter_ctx filter, const struct rule *rule)
{
	int	 failed = 0;

	for (; rule->name != NULL && failed == 0; rule++)
		failed = add_rule(filter, SCMP_ACT_ALLOW, rule);
	return failed;
}

/* libc tries these first, and the older calls only after ENOSYS. */
static int
add_unknown(scmp_filter_ctx filter)
{
	int	 failed = add_rule(filter, SCMP_ACT_ERRNO(ENOSYS), &(struct rule){ .name = "clone3" });

	return failed != 0 ? failed : add_rule(filter, SCMP_ACT_ERRNO(ENOSYS), &(struct rule){ .name = "openat2" });
}

/* abort(3) signals this process, and no other. */
static int
add_abort(scmp_filter_ctx filter)
{
	const struct rule rule = { "tgkill", 1, { { 0, SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0 } } };

	return add_rule(filter, SCMP_ACT_ALLOW, &rule);
}

/* libseccomp's functions return 0 or -errno. */
static int
fill_filter(scmp_filter_ctx filter, enum sandbox_profile profile)
{
	bool	 capture = profile == SANDBOX_CAPTURE;
	int	 failed = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);

	if (failed == 0)
		failed = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);	/* a tree: each call passes it */
	if (failed == 0 && SANDBOX_FOR_ASAN)
		failed = add_names(filter, SCMP_ACT_ALLOW, for_asan);
	if (failed == 0)
		failed = add_names(filter, SCMP_ACT_ALLOW, for_all);
	if (failed == 0 && !capture)
		failed = add_names(filter, SCMP_ACT_ALLOW, for_link);
	if (failed == 0)
		failed = add_rules(filter, rules_for_all);
	if (failed == 0)
		failed = add_rules(filter, capture ? rules_for_capture : rules_for_link);
	if (failed == 0)
		failed = add_unknown(filter);
	if (failed == 0)
		failed = add_abort(filter);
	return failed;
}

static int
fill_read_filter(scmp_filter_ctx filter)
{
	int	 failed = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);

	if (failed == 0)
		failed = add_names(filter, SCMP_ACT_ERRNO(EPERM), not_for_read);
	if (failed == 0 && !SANDBOX_FOR_ASAN)
		failed = add_names(filter, SCMP_ACT_ERRNO(EPERM), not_for_read_but_asan);
	return failed;
}

int
sandbox_seccomp(enum sandbox_profile profile, char *error, size_t error_size)
{
	bool		 read = profile == SANDBOX_READ;
	scmp_filter_ctx	 filter = seccomp_init(read ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EPERM));
	int		 failed = -ENOMEM;

	if (filter != NULL)
		failed = read ? fill_read_filter(filter) : fill_filter(filter, profile);
	if (failed == 0)
		failed = seccomp_load(filter);
	if (filter != NULL)
		seccomp_release(filter);
	if (failed == 0)
		return 0;
	snprintf(error, error_size, "seccomp: %s", strerror(-failed));
	return -1;
}

#endif
