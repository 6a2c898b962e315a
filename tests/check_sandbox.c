/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <net/if.h>
#include <netinet/in.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <pcap/pcap.h>

#include "common/sandbox.h"

#define SKIP_STATUS	77	/* automake's */

/* Rights given up stay so: each test gives its process's up in a child, which tells by its exit status. */
#define EXPECT(what)	do {									\
	if (!(what)) {										\
		fprintf(stderr, "%s:%d: not so: %s (errno: %s)\n", __FILE__, __LINE__, #what, strerror(errno));	\
		_exit(EXIT_FAILURE);								\
	}											\
} while (0)
#define REFUSED(call)	EXPECT((errno = 0, (call)) == -1 && errno == EPERM)

static char	error[SANDBOX_ERROR_SIZE];

/* exit(3), so that a leak check at exit has to get along with the sandbox too. */
static void
run_in_child(void (*test)(void))
{
	int	 status;
	pid_t	 pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		test();
		exit(EXIT_SUCCESS);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS, "the child ended with wait status %#x",
	    (unsigned)status);
}

static uint64_t
permitted(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct half[2];

	EXPECT(syscall(SYS_capget, &header, half) == 0);
	EXPECT(half[0].effective == half[0].permitted && half[1].effective == half[1].permitted);
	EXPECT(half[0].inheritable == 0 && half[1].inheritable == 0);
	return (uint64_t)half[1].permitted << 32 | half[0].permitted;
}

static void
expect_user(const char *name)
{
	const struct passwd *user = getpwnam(name);
	uid_t	 r, e, s;
	gid_t	 rg, eg, sg, groups[8];

	EXPECT(user != NULL);
	EXPECT(getresuid(&r, &e, &s) == 0 && r == user->pw_uid && e == r && s == r);
	EXPECT(getresgid(&rg, &eg, &sg) == 0 && rg == user->pw_gid && eg == rg && sg == rg);
	EXPECT(getgroups(8, groups) == 1 && groups[0] == user->pw_gid);
	REFUSED(setuid(0));
	REFUSED(setgid(0));
}

static void
expect_closed_off(void)
{
	EXPECT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	EXPECT(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == SANDBOX_FOR_ASAN);
	EXPECT(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_RAW, 0, 0) == 0);
}

static void
drop_all(void)
{
	EXPECT(sandbox_drop_user("nobody", false, error, sizeof(error)) == 0);
	expect_user("nobody");
	expect_closed_off();
	EXPECT(permitted() == 0);
	REFUSED(socket(AF_PACKET, SOCK_RAW, 0));
}

static void
drop_all_but_net_raw(void)
{
	EXPECT(sandbox_drop_user("nobody", true, error, sizeof(error)) == 0);
	expect_user("nobody");
	expect_closed_off();
	EXPECT(permitted() == 1u << CAP_NET_RAW);
	EXPECT(socket(AF_PACKET, SOCK_RAW, 0) != -1);
}

static void
drop_to_unknown_user(void)
{
	EXPECT(sandbox_drop_user("no-such-user-here", true, error, sizeof(error)) == -1);
	EXPECT(strcmp(error, "user \"no-such-user-here\": there is no such user") == 0);
	EXPECT(geteuid() == 0 && permitted() != 0);
}

/* As a service manager does that starts a program as another user with AmbientCapabilities=. */
static void
become_with_ambient(uint32_t caps)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct half[2] = { { caps, caps, caps }, { 0, 0, 0 } };

	EXPECT(setgroups(0, NULL) == 0 && setgid(65534) == 0 && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 && setuid(65534) == 0);
	EXPECT(syscall(SYS_capset, &header, half) == 0);
	for (unsigned cap = 0; cap < 32; cap++)
		EXPECT((caps >> cap & 1) == 0 || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) == 0);
}

static void
drop_ambient(void)
{
	become_with_ambient(1u << CAP_NET_RAW | 1u << CAP_NET_ADMIN);
	EXPECT(sandbox_drop_user("no-matter-who", true, error, sizeof(error)) == 0);
	EXPECT(geteuid() == 65534);
	expect_closed_off();
	EXPECT(permitted() == 1u << CAP_NET_RAW);
	EXPECT(socket(AF_PACKET, SOCK_RAW, 0) != -1);
}

static void
keep_what_is_not_there(void)
{
	become_with_ambient(1u << CAP_NET_ADMIN);
	EXPECT(sandbox_drop_user("nobody", true, error, sizeof(error)) == -1);
	EXPECT(strstr(error, "CAP_NET_RAW is missing") != NULL);
	EXPECT(sandbox_drop_user("nobody", false, error, sizeof(error)) == 0);
	EXPECT(permitted() == 0);
}

START_TEST(drop_user)
{
	static void (*const tests[])(void) = {
		drop_all, drop_all_but_net_raw, drop_to_unknown_user, drop_ambient, keep_what_is_not_there,
	};

	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		run_in_child(tests[i]);
}
END_TEST

#ifdef HAVE_SECCOMP

/* A network of its own, of which only the loopback is there. */
static void
own_network(void)
{
	struct ifreq	 request = { .ifr_flags = IFF_UP, .ifr_name = "lo" };
	int		 fd;

	EXPECT(unshare(CLONE_NEWNET) == 0);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	EXPECT(fd != -1 && ioctl(fd, SIOCSIFFLAGS, &request) == 0);
	close(fd);
}

static struct sockaddr_in
loopback(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void
count_packet(u_char *count, const struct pcap_pkthdr *header, const u_char *bytes)
{
	(void)header;
	(void)bytes;
	(*(unsigned *)(void *)count)++;
}

static pcap_t *
open_capture(void)
{
	struct bpf_program program;
	struct sock_fprog attach;
	char	 why[PCAP_ERRBUF_SIZE];
	pcap_t	*pcap = pcap_create("lo", why);

	EXPECT(pcap != NULL);
	EXPECT(pcap_set_snaplen(pcap, 262144) == 0 && pcap_set_timeout(pcap, 10) == 0 && pcap_set_promisc(pcap, 1) == 0);
	EXPECT(pcap_set_buffer_size(pcap, 2 << 20) == 0);
	EXPECT(pcap_set_tstamp_precision(pcap, PCAP_TSTAMP_PRECISION_NANO) == 0);
	EXPECT(pcap_activate(pcap) == 0);
	EXPECT(pcap_setnonblock(pcap, 1, why) == 0);
	EXPECT(pcap_compile(pcap, &program, "udp and inbound", 1, PCAP_NETMASK_UNKNOWN) == 0);
	attach = (struct sock_fprog){ (unsigned short)program.bf_len, (struct sock_filter *)(void *)program.bf_insns };
	EXPECT(setsockopt(pcap_fileno(pcap), SOL_SOCKET, SO_ATTACH_FILTER, &attach, sizeof(attach)) == 0);
	pcap_freecode(&program);
	return pcap;
}

/* From opening to closing, twice: what a capture does while its sandbox is on. udp is a socket made before. */
static void
capture_loopback(int udp)
{
	for (int round = 0; round < 2; round++) {
		struct pcap_stat stats;
		unsigned	 packets = 0;
		pcap_t		*pcap = open_capture();
		struct pollfd	 pfd = { .fd = pcap_get_selectable_fd(pcap), .events = POLLIN };

		EXPECT(send(udp, "x", 1, 0) == 1);
		while (packets == 0) {
			EXPECT(poll(&pfd, 1, 5000) == 1);
			EXPECT(pcap_dispatch(pcap, -1, count_packet, (u_char *)&packets) >= 0);
		}
		EXPECT(packets == 1);
		EXPECT(pcap_stats(pcap, &stats) == 0 && stats.ps_recv >= 1);
		pcap_close(pcap);
	}
}

static void
expect_refused_by_both(void)
{
	char	*argv[] = { (char *)"true", NULL };
	int	 fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);

	EXPECT(fd != -1);
	REFUSED(open("/tmp/check_sandbox.never", O_WRONLY | O_CREAT, 0600));
	REFUSED(open("/dev/null", O_RDWR));
	REFUSED(open("/dev/null", O_RDONLY | O_TRUNC));
	REFUSED(open("/tmp", O_WRONLY | O_TMPFILE, 0600));
	REFUSED(unlink("/tmp/check_sandbox.never"));
	REFUSED(mkdir("/tmp/check_sandbox.never", 0700));
	REFUSED(chmod("/tmp", 01777));
	REFUSED(execv("/bin/true", argv));
	REFUSED(execvpe("true", argv, argv + 1));
	REFUSED((int)syscall(SYS_bpf, 0, NULL, 0));
	REFUSED(mount("none", "/mnt", "tmpfs", 0, NULL));
	REFUSED(unshare(CLONE_NEWNET));
	REFUSED(setuid(getuid()));
	REFUSED((int)syscall(SYS_init_module, NULL, 0, ""));
	REFUSED(ioctl(STDIN_FILENO, TIOCSTI, "x"));
#if !SANDBOX_FOR_ASAN
	REFUSED(fork());
	REFUSED(vfork());
	REFUSED((int)ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	REFUSED(kill(getppid(), 0));
	REFUSED((int)syscall(SYS_tgkill, getppid(), getppid(), 0));
	REFUSED(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
#endif
	EXPECT(raise(0) == 0);
	close(fd);
}

static void
seccomp_capture(void)
{
	struct sockaddr_in address = loopback(9);
	int	 udp, receiver;

	own_network();
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	receiver = socket(AF_INET, SOCK_DGRAM, 0);
	EXPECT(bind(receiver, (const struct sockaddr *)&address, sizeof(address)) == 0);
	EXPECT(connect(udp, (const struct sockaddr *)&address, sizeof(address)) == 0);
	EXPECT(sandbox_drop_user("nobody", true, error, sizeof(error)) == 0);
	EXPECT(sandbox_seccomp(SANDBOX_CAPTURE, error, sizeof(error)) == 0);
	REFUSED(socket(AF_INET, SOCK_STREAM, 0));
	REFUSED(socket(AF_INET, SOCK_DGRAM, 0));
	REFUSED(socket(AF_INET6, SOCK_STREAM, 0));
	REFUSED(socket(AF_UNIX, SOCK_STREAM, 0));
	REFUSED(socket(AF_NETLINK, SOCK_RAW, 0));
	REFUSED(socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){ 0, 0 }));
	REFUSED(connect(udp, (const struct sockaddr *)&address, sizeof(address)));
	REFUSED(accept(udp, NULL, NULL));
	capture_loopback(udp);
	expect_refused_by_both();
}

START_TEST(capture_may_capture_and_no_more)
{
	run_in_child(seccomp_capture);
}
END_TEST

static void *
set_to_one(void *arg)
{
	*(int *)arg = 1;
	return NULL;
}

static int
resolve(const char *host, int flags)
{
	struct addrinfo	 hints = { .ai_socktype = SOCK_STREAM, .ai_flags = flags }, *found = NULL;
	int		 error_code = getaddrinfo(host, "8827", &hints, &found);

	if (error_code == 0)
		freeaddrinfo(found);
	return error_code;
}

/* As root and with all capabilities, so that it is the filter that refuses. */
static void
seccomp_link(void)
{
	struct sockaddr_in address = loopback(0);
	socklen_t	 length = sizeof(address);
	pthread_t	 thread;
	int		 listener, fd, waiting, done = 0, resolved;

	own_network();
	resolved = resolve("localhost", 0);	/* a machine without /etc/hosts cannot */
	listener = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT(listener != -1 && listen(listener, 5) == 0);
	EXPECT(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	EXPECT(sandbox_seccomp(SANDBOX_LINK, error, sizeof(error)) == 0);
	REFUSED(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)));
	REFUSED(socket(AF_PACKET, SOCK_DGRAM, 0));
	REFUSED(socket(AF_ALG, SOCK_SEQPACKET, 0));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	EXPECT(connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
	EXPECT(ioctl(fd, SIOCOUTQ, &waiting) == 0 && ioctl(fd, FIONREAD, &waiting) == 0);
	EXPECT(accept4(listener, NULL, NULL, SOCK_CLOEXEC) != -1);
	EXPECT(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0) != -1);
	EXPECT(resolve("localhost", 0) == resolved);
	EXPECT(resolve("::1", AI_NUMERICHOST | AI_ADDRCONFIG) == 0);
	EXPECT(if_nametoindex("lo") != 0);
	EXPECT(pthread_create(&thread, NULL, set_to_one, &done) == 0 && pthread_join(thread, NULL) == 0 && done == 1);
	expect_refused_by_both();
}

START_TEST(link_may_connect_and_no_more)
{
	run_in_child(seccomp_link);
}
END_TEST

static void
seccomp_read(void)
{
	char *const nothing[] = { NULL };
	int	 fds[2], fd;

	EXPECT(pipe(fds) == 0);
	EXPECT(sandbox_seccomp(SANDBOX_READ, error, sizeof(error)) == 0);
	REFUSED(socket(AF_INET, SOCK_DGRAM, 0));
	REFUSED(socket(AF_INET6, SOCK_STREAM, 0));
	REFUSED(socket(AF_UNIX, SOCK_STREAM, 0));
	REFUSED(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	REFUSED(execve("/proc/self/exe", nothing, nothing));
	if (!SANDBOX_FOR_ASAN)
		REFUSED(kill(getppid(), 0));
	EXPECT(resolve("name.invalid", 0) != 0);
	EXPECT((fd = open("/proc/self/status", O_RDONLY)) != -1 && close(fd) == 0);
}

START_TEST(read_may_read_and_ask_nobody)
{
	run_in_child(seccomp_read);
}
END_TEST

static void *
refused_in_thread(void *fd)
{
	char	 byte;

	EXPECT(read(*(int *)fd, &byte, 1) == 1);
	REFUSED(socket(AF_PACKET, SOCK_RAW, 0));
	return NULL;
}

static void
seccomp_with_thread(void)
{
	int		 fds[2];
	pthread_t	 thread;

	EXPECT(pipe(fds) == 0);
	EXPECT(pthread_create(&thread, NULL, refused_in_thread, &fds[0]) == 0);
	EXPECT(sandbox_seccomp(SANDBOX_LINK, error, sizeof(error)) == 0);
	EXPECT(write(fds[1], "", 1) == 1);
	EXPECT(pthread_join(thread, NULL) == 0);
}

START_TEST(threads_that_run_already_are_held_too)
{
	run_in_child(seccomp_with_thread);
}
END_TEST

#else

START_TEST(missing_seccomp_is_said)
{
	ck_assert_int_eq(sandbox_seccomp(SANDBOX_LINK, error, sizeof(error)), -1);
	ck_assert_str_eq(error, "seccomp is not built in");
}
END_TEST

#endif

int
main(void)
{
	Suite		*suite = suite_create("sandbox");
	TCase		*tc = tcase_create("sandbox");
	SRunner		*runner = srunner_create(suite);
	int		 failed;

	if (geteuid() != 0) {
		printf("check_sandbox: skipped: only root has privileges to drop\n");
		srunner_free(runner);
		return SKIP_STATUS;
	}
	suite_add_tcase(suite, tc);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, drop_user);
#ifdef HAVE_SECCOMP
	tcase_add_test(tc, capture_may_capture_and_no_more);
	tcase_add_test(tc, link_may_connect_and_no_more);
	tcase_add_test(tc, read_may_read_and_ask_nobody);
	tcase_add_test(tc, threads_that_run_already_are_held_too);
#else
	tcase_add_test(tc, missing_seccomp_is_said);
#endif
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
