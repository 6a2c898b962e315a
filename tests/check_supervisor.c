/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"

#include "agent/supervisor.h"

/*
 * The supervisor with stand-ins for its roles: it executes this very program with --role=..., which then says what it sees on
 * a datagram socket to the test. What a stand-in does wrong is in CHECK_MODE.
 */

#define WAIT_MS		10000
#define EXIT_SKIPPED	77	/* as automake has it */

static char directory[] = "/tmp/check_supervisor.XXXXXX";
static char socket_path[64], key_path[64], config_path[64];

/* --- the stand-ins --- */

static enum role own_role;
static struct event_base *base;
static struct ipc *supervisor, *peer;

static void __attribute__((format(printf, 1, 2)))
say(const char *format, ...)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char line[256];
	va_list ap;
	size_t n;
	int fd;

	n = (size_t)snprintf(line, sizeof(line), "%s ", role_name(own_role));
	va_start(ap, format);
	vsnprintf(line + n, sizeof(line) - n, format, ap);
	va_end(ap);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", getenv("CHECK_SOCKET"));
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd == -1 || sendto(fd, line, strlen(line), 0, (const struct sockaddr *)&address, sizeof(address)) == -1)
		_exit(99);
	close(fd);
}

static bool
mode_is(const char *mode)
{
	return getenv("CHECK_MODE") != NULL && strcmp(getenv("CHECK_MODE"), mode) == 0;
}

static void
peer_message(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	(void)ipc;
	(void)arg;
	say("peer says %.*s", (int)message->length, (const char *)message->payload);
}

static void
peer_closed(struct ipc *ipc, void *arg)
{
	(void)arg;
	ipc_free(ipc);
	peer = NULL;
	say("peer closed");
}

static const struct ipc_callbacks peer_callbacks = { .message = peer_message, .closed = peer_closed };

static void
set_peer(int fd)
{
	ipc_free(peer);
	peer = ipc_new(base, fd, &peer_callbacks, NULL);
	if (own_role == ROLE_LINK)
		ipc_send(peer, IPC_TAP, "hello", 5, NULL, 0);
}

static void
say_socket(const struct ipc_message *message)
{
	socklen_t length = sizeof(int);
	int type = 0;

	if (message->fd_count == 1 && getsockopt(message->fd[0], SOL_SOCKET, SO_TYPE, &type, &length) == 0)
		say("socket of type %d, %s", type, fcntl(message->fd[0], F_GETFL) & O_NONBLOCK ? "non-blocking" : "blocking");
	else
		say("no socket: %zu bytes", message->length);
}

static void
say_credentials(const struct ipc_message *message)
{
	char text[16] = "";

	if (message->fd_count == 3 && pread(message->fd[2], text, sizeof(text) - 1, 0) > 0)
		say("credentials, key %s", text);
	else
		say("no credentials: %.*s", (int)message->length, (const char *)message->payload);
}

/* Bits, and what each file holds. */
static void
say_rpcap_files(const struct ipc_message *message)
{
	char line[128] = "", text[16];
	size_t used = 0;
	ssize_t n;

	for (size_t i = 0; i < message->fd_count; i++) {
		n = pread(message->fd[i], text, sizeof(text) - 1, 0);
		used += (size_t)snprintf(line + used, sizeof(line) - used, " %.*s", (int)n, text);
	}
	say("rpcap files 0x%02x%s", message->length == 1 ? message->payload[0] : 0xffu, line);
}

static int
count_listening(void)
{
	int count = 0, listening;
	socklen_t length;

	for (int fd = ROLE_FD_RPCAP; fd < ROLE_FD_RPCAP + AGENT_RPCAP_LISTENS_MAX; fd++) {
		length = sizeof(listening);
		count += getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening;
	}
	return count;
}

static void
say_shutdown(const struct ipc_message *message)
{
	uint32_t left_ms;

	if (ipc_get_shutdown(message, &left_ms) == 0)
		say("shutdown within %u ms", left_ms);
}

static void
supervisor_message(struct ipc *ipc, struct ipc_message *message, void *arg)
{
	(void)ipc;
	(void)arg;
	if (message->type == IPC_PEER) {
		say("new peer");
		set_peer(message->fd[0]);
		message->fd[0] = -1;
	} else if (message->type == IPC_SOCKET) {
		say_socket(message);
	} else if (message->type == IPC_CREDENTIALS) {
		say_credentials(message);
	} else if (message->type == IPC_RPCAP_FILES) {
		say_rpcap_files(message);
	} else if (message->type == IPC_CONFIG) {
		say("config");
	} else if (message->type == IPC_DUMP) {
		say("dump");
		if (mode_is("garbage") && own_role == ROLE_LINK && send(ROLE_FD_SUPERVISOR, "\377\377\377\377", 4, 0) == -1)
			say("cannot send garbage");
	} else if (message->type == IPC_SHUTDOWN) {
		say_shutdown(message);
		if (!mode_is("stubborn"))
			event_base_loopbreak(base);
	}
}

static void
supervisor_closed(struct ipc *ipc, void *arg)
{
	(void)ipc;
	(void)arg;
	_exit(98);
}

static const struct ipc_callbacks supervisor_callbacks = { .message = supervisor_message, .closed = supervisor_closed };

static int
count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = -3;		/* ".", ".." and the directory's own */

	while (dir != NULL && readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static void
link_begin(void)
{
	static const uint8_t wanted[][2] = {
		{ AF_INET, SOCK_STREAM }, { AF_INET6, SOCK_DGRAM }, { AF_UNIX, SOCK_STREAM }, { AF_INET, SOCK_RAW },
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		ipc_send(supervisor, IPC_SOCKET_REQUEST, wanted[i], 2, NULL, 0);
	ipc_send(supervisor, IPC_SOCKET_REQUEST, wanted[0], 1, NULL, 0);
	ipc_send(supervisor, IPC_CREDENTIALS_REQUEST, NULL, 0, NULL, 0);
}

static int
role_main(enum role role)
{
	struct agent_options options = { 0 };
	int fds = count_fds();

	own_role = role;
	role_begin(role, &options);
	say("started %ld, %d descriptors, snaplen %u, instance %s", (long)getpid(), fds, (unsigned)options.snaplen,
	    getenv(AGENT_INSTANCE_ENV));
	if (role == ROLE_LINK && agent_options_rpcap(&options))
		say("listens at %d places for rpcap", count_listening());
	agent_options_free(&options);
	if (mode_is("die") && role == ROLE_CAPTURE)
		return 7;
	base = event_base_new();
	supervisor = ipc_new(base, ROLE_FD_SUPERVISOR, &supervisor_callbacks, NULL);
	set_peer(ROLE_FD_PEER);
	if (role == ROLE_LINK)
		link_begin();
	ipc_send(supervisor, IPC_READY, NULL, 0, NULL, 0);
	event_base_dispatch(base);
	ipc_free(supervisor);
	ipc_free(peer);
	event_base_free(base);
	say("ended");
	return 0;
}

/* --- the tests --- */

static int listener;
static pid_t running;

static void
put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_eq((int)write(fd, text, strlen(text)), (int)strlen(text));
	close(fd);
}

static void
setup(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	ck_assert_ptr_nonnull(mkdtemp(directory));
	ck_assert_int_eq(chmod(directory, 0711), 0);
	snprintf(socket_path, sizeof(socket_path), "%s/socket", directory);
	snprintf(key_path, sizeof(key_path), "%s/key", directory);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	listener = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listener, (const struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(chmod(socket_path, 0777), 0);
	snprintf(config_path, sizeof(config_path), "%s/conf", directory);
	put(key_path, "secret");
	put(config_path, "");
	setenv("CHECK_SOCKET", socket_path, 1);
	setenv("NOTIFY_SOCKET", socket_path, 1);
	unsetenv("CHECK_MODE");
}

static void
teardown(void)
{
	unlink(socket_path);
	unlink(key_path);
	unlink(config_path);
	rmdir(directory);
}

/* In a process of its own, as a service is. */
static void
start(const char *mode)
{
	struct agent_options options = { 0 };
	struct supervisor supervised = { .options = &options, .argc = 12, .pidfile_fd = -1 };
	char *argv[] = { (char[]){ "vmtap-agent" }, (char[]){ "--config" }, config_path, (char[]){ "--ca" }, key_path,
		(char[]){ "--cert" }, key_path, (char[]){ "--key" }, key_path, (char[]){ "--no-sandbox" }, (char[]){ "-s" },
		(char[]){ "1234" }, NULL };
	struct conf_error error;
	int status;

	if (mode != NULL)
		setenv("CHECK_MODE", mode, 1);
	running = fork();
	ck_assert_int_ne(running, -1);
	if (running != 0)
		return;
	log_init("supervisor", LOG_LEVEL_ERROR);
	supervised.argv = argv;
	if (agent_options_load(&options, 12, argv, &error) == -1)
		fatal("%s", error.text);
	if (supervisor_rpcap_listen(&supervised, &error) == -1)
		fatal("%s", error.text);
	status = supervisor_run(&supervised);
	agent_options_free(&options);
	_exit(status);
}

/* The next line that starts so; others may come before it. Returns what follows. */
static const char *
expect(const char *begin)
{
	static char line[256];
	struct pollfd ready = { .fd = listener, .events = POLLIN };
	ssize_t n;

	for (;;) {
		ck_assert_msg(poll(&ready, 1, WAIT_MS) == 1, "nobody said \"%s\"", begin);
		n = recv(listener, line, sizeof(line) - 1, 0);
		ck_assert_int_gt((int)n, 0);
		line[n] = '\0';
		if (strncmp(line, begin, strlen(begin)) == 0)
			return line + strlen(begin);
	}
}

static void
expect_exit(int expected)
{
	int status;

	ck_assert_int_eq(waitpid(running, &status, 0), running);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), expected);
}

static void
stop(void)
{
	ck_assert_int_eq(kill(running, SIGTERM), 0);
	expect_exit(0);
}

/* The link role is the same instance as before, whatever the environment had. */
START_TEST(test_instance)
{
	char first[64];
	pid_t link;

	setenv(AGENT_INSTANCE_ENV, "00000000000000000000000000000000", 1);
	start(NULL);
	ck_assert_int_eq(sscanf(expect("link started "), "%d, %*d descriptors, snaplen %*u, instance %63s", &link, first), 2);
	ck_assert_uint_eq(strlen(first), 2 * MSG_ID_SIZE);
	ck_assert_uint_eq(strspn(first, "0123456789abcdef"), 2 * MSG_ID_SIZE);
	ck_assert_uint_lt(strspn(first, "0"), 2 * MSG_ID_SIZE);
	expect("READY=1");
	ck_assert_int_eq(kill(link, SIGKILL), 0);
	ck_assert_ptr_nonnull(strstr(expect("link started "), first));
	stop();
}
END_TEST

/* Only the descriptors of enum role_fd, and the three of every process. */
START_TEST(test_start)
{
	pid_t capture;
	unsigned snaplen = 0;
	int fds = 0;

	start(NULL);
	ck_assert_int_eq(sscanf(expect("capture started "), "%d, %d descriptors, snaplen %u", &capture, &fds, &snaplen), 3);
	ck_assert_int_eq(fds, ROLE_FD_DISK + 1);	/* and ROLE_FD_LAST */
	ck_assert_uint_eq(snaplen, 1234);
	expect("READY=1");
	stop();
	ck_assert_int_eq(kill(capture, 0), -1);
}
END_TEST

START_TEST(test_peers_talk)
{
	start(NULL);
	ck_assert_str_eq(expect("capture peer says "), "hello");
	stop();
}
END_TEST

START_TEST(test_socket_and_credentials)
{
	char expected[64];

	start(NULL);
	snprintf(expected, sizeof(expected), "of type %d, non-blocking", SOCK_STREAM);
	ck_assert_str_eq(expect("link socket "), expected);
	snprintf(expected, sizeof(expected), "of type %d, non-blocking", SOCK_DGRAM);
	ck_assert_str_eq(expect("link socket "), expected);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_str_eq(expect("link no socket: "), "4 bytes");
	ck_assert_str_eq(expect("link credentials, "), "key secret");
	stop();
}
END_TEST

START_TEST(test_no_credentials)
{
	ck_assert_int_eq(unlink(key_path), 0);
	start(NULL);
	ck_assert_ptr_nonnull(strstr(expect("link no credentials: "), "No such file"));
	stop();
}
END_TEST

/* Where RPCAP's files are: one for each, with its own name in it. */
static void
put_rpcap(const char *const names[], const char *lines)
{
	char path[128], text[1024];
	size_t used = (size_t)snprintf(text, sizeof(text), "rpcap-listen = 127.0.0.1:%u\nrpcap-listen = [::1]:%u\nrpcap-null-auth\n%s",
	    (unsigned)getpid() % 20000 + 1025, (unsigned)getpid() % 20000 + 1025, lines);

	for (; *names != NULL; names++) {
		snprintf(path, sizeof(path), "%s/%s", directory, *names);
		put(path, *names);
		used += (size_t)snprintf(text + used, sizeof(text) - used, "rpcap-%s = %s\n", *names, path);
	}
	put(config_path, text);
}

static void
remove_rpcap(const char *const names[])
{
	char path[128];

	for (; *names != NULL; names++) {
		snprintf(path, sizeof(path), "%s/%s", directory, *names);
		unlink(path);
	}
}

START_TEST(test_rpcap)
{
	static const char *const all[] = { "cert", "key", "ca", "passwords", NULL };

	put_rpcap(all, "");
	start(NULL);
	ck_assert_str_eq(expect("link listens at "), "2 places for rpcap");
	ck_assert_str_eq(expect("link rpcap files "), "0x0f cert key ca passwords");
	stop();
	remove_rpcap(all);
}
END_TEST

/* Whoever is started again gets them again; one that is gone is left out, and handed on once it is back. */
START_TEST(test_rpcap_changes)
{
	static const char *const some[] = { "ca", "passwords", NULL };
	char path[128];
	pid_t link;

	snprintf(path, sizeof(path), "%s/ca", directory);
	put_rpcap(some, "");
	start(NULL);
	link = atoi(expect("link started "));
	expect("READY=1");
	ck_assert_int_eq(unlink(path), 0);
	expect("link rpcap files 0x08 passwords");
	ck_assert_int_eq(kill(link, SIGKILL), 0);
	expect("link started ");
	ck_assert_str_eq(expect("link rpcap files "), "0x08 passwords");
	put(path, "again");
	ck_assert_str_eq(expect("link rpcap files "), "0x0c again passwords");
	stop();
	remove_rpcap(some);
}
END_TEST

/* The configuration first, so that it is known what they are for. */
START_TEST(test_rpcap_reload)
{
	static const char *const some[] = { "passwords", NULL }, *const none[] = { NULL };

	put_rpcap(some, "rpcap-clients = 1\n");
	start(NULL);
	expect("READY=1");
	put_rpcap(none, "rpcap-clients = 2\n");
	ck_assert_int_eq(kill(running, SIGHUP), 0);
	expect("link config");
	ck_assert_str_eq(expect("link rpcap files "), "0x00");
	stop();
	remove_rpcap(some);
}
END_TEST

START_TEST(test_capture_restart)
{
	uint64_t killed;
	pid_t capture;

	start(NULL);
	capture = atoi(expect("capture started "));
	expect("READY=1");
	for (unsigned i = 0; i < 3; i++) {
		killed = clock_mono_ns();
		ck_assert_int_eq(kill(capture, SIGKILL), 0);
		capture = atoi(expect("capture started "));
		/* 100, 200, 400 ms. */
		ck_assert_uint_ge(clock_mono_ns() - killed, (UINT64_C(100000000) << i));
		ck_assert_str_eq(expect("capture peer says "), "hello");
	}
	stop();
}
END_TEST

START_TEST(test_link_restart)
{
	pid_t link;

	start(NULL);
	link = atoi(expect("link started "));
	expect("READY=1");
	ck_assert_int_eq(kill(link, SIGKILL), 0);
	expect("capture peer closed");
	expect("capture new peer");
	ck_assert_str_eq(expect("capture peer says "), "hello");
	stop();
}
END_TEST

/* A role that does not keep to the protocol is ended, and begins anew. */
START_TEST(test_garbage)
{
	start("garbage");
	expect("READY=1");
	ck_assert_int_eq(kill(running, SIGUSR1), 0);
	expect("link dump");
	expect("link started");
	expect("capture peer says ");
	stop();
}
END_TEST

/* Capture first, so that its last blocks are there to be sent. */
START_TEST(test_stop_in_order)
{
	int capture_ms, link_ms;

	start(NULL);
	expect("READY=1");
	ck_assert_int_eq(kill(running, SIGINT), 0);
	capture_ms = atoi(expect("capture shutdown within "));
	expect("capture ended");
	link_ms = atoi(expect("link shutdown within "));
	expect("link ended");
	expect_exit(0);
	ck_assert_int_gt(capture_ms, 0);
	ck_assert_int_lt(capture_ms, 2000);
	ck_assert_int_gt(link_ms, 0);
	ck_assert_int_le(link_ms, 2000);
}
END_TEST

/* Capture is killed in time for link to end in order. */
START_TEST(test_stop_stubborn)
{
	uint64_t began;

	start("stubborn");
	expect("READY=1");
	began = clock_mono_ns();
	ck_assert_int_eq(kill(running, SIGTERM), 0);
	ck_assert_int_ge(atoi(expect("link shutdown within ")), 500);
	expect_exit(0);
	ck_assert_uint_lt(clock_mono_ns() - began, UINT64_C(3500000000));
}
END_TEST

START_TEST(test_dies_at_start)
{
	start("die");
	expect_exit(1);
}
END_TEST

START_TEST(test_dump)
{
	start(NULL);
	expect("READY=1");
	ck_assert_int_eq(kill(running, SIGUSR1), 0);
	expect("capture dump");
	ck_assert_int_eq(kill(running, SIGUSR1), 0);
	expect("link dump");
	stop();
}
END_TEST

START_TEST(test_service_manager)
{
	setenv("WATCHDOG_USEC", "40000", 1);
	start(NULL);
	expect("READY=1\nSTATUS=in service");
	expect("WATCHDOG=1");
	ck_assert_int_eq(kill(running, SIGHUP), 0);
	expect("RELOADING=1");
	expect("READY=1\nSTATUS=in service; the configuration on disk was refused");	/* it has no collector */
	expect("WATCHDOG=1");
	unsetenv("WATCHDOG_USEC");
	ck_assert_int_eq(kill(running, SIGTERM), 0);
	expect("STOPPING=1");
	expect_exit(0);
}
END_TEST

/* The status of a process that writes a byte at this place of a file, with its log there: 0, or errno. */
static int
write_under_limit(const char *log, uint64_t spool_disk, uint64_t place)
{
	const struct agent_options options = { .spool_disk = spool_disk };
	int status, fd;
	pid_t pid;

	if ((pid = fork()) == 0) {
		if (dup2(open(log, O_RDWR | O_CREAT, 0600), STDERR_FILENO) == -1 || role_limit_files(&options) == -1)
			_exit(255);
		fd = memfd_create("file", 0);
		_exit(pwrite(fd, "x", 1, (off_t)place) == 1 ? 0 : errno);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

START_TEST(test_file_limit)
{
	const uint64_t size = 64u << 20, segment = size / DISK_SEGMENTS + ROLE_SEGMENT_SPARE;
	char log[96];

	ck_assert_int_eq(write_under_limit("/dev/null", 0, 0), EFBIG);
	ck_assert_int_eq(write_under_limit("/dev/null", size, segment - 1), 0);
	ck_assert_int_eq(write_under_limit("/dev/null", size, segment), EFBIG);
	snprintf(log, sizeof(log), "%s/log", directory);
	ck_assert_int_eq(write_under_limit(log, 0, segment), 0);
	unlink(log);
}
END_TEST

/* Nobody outlives the supervisor. */
START_TEST(test_supervisor_killed)
{
	pid_t capture;

	start(NULL);
	capture = atoi(expect("capture started "));
	expect("READY=1");
	ck_assert_int_eq(kill(running, SIGKILL), 0);
	ck_assert_int_eq(waitpid(running, NULL, 0), running);
	for (unsigned i = 0; kill(capture, 0) == 0; i++) {
		ck_assert_uint_lt(i, WAIT_MS / 10);
		poll(NULL, 0, 10);
	}
}
END_TEST

static Suite *
supervisor_suite(void)
{
	Suite *suite = suite_create("supervisor");
	TCase *tc = tcase_create("supervisor");

	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_start);
	tcase_add_test(tc, test_instance);
	tcase_add_test(tc, test_peers_talk);
	tcase_add_test(tc, test_socket_and_credentials);
	tcase_add_test(tc, test_no_credentials);
	tcase_add_test(tc, test_rpcap);
	tcase_add_test(tc, test_rpcap_changes);
	tcase_add_test(tc, test_rpcap_reload);
	tcase_add_test(tc, test_capture_restart);
	tcase_add_test(tc, test_link_restart);
	tcase_add_test(tc, test_garbage);
	tcase_add_test(tc, test_stop_in_order);
	tcase_add_test(tc, test_stop_stubborn);
	tcase_add_test(tc, test_dies_at_start);
	tcase_add_test(tc, test_dump);
	tcase_add_test(tc, test_service_manager);
	tcase_add_test(tc, test_file_limit);
	tcase_add_test(tc, test_supervisor_killed);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(int argc, char **argv)
{
	SRunner *runner;
	enum role role;
	int failed;

	if (argc == 2 && strncmp(argv[1], "--role=", 7) == 0 && role_by_name(argv[1] + 7, &role) == 0)
		return role_main(role);
	if (geteuid() != 0) {
		fprintf(stderr, "check_supervisor: skipped: the capture role needs CAP_NET_RAW, so this must run as root\n");
		return EXIT_SKIPPED;
	}
	runner = srunner_create(supervisor_suite());
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
