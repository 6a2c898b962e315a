/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "common/buf.h"
#include "common/log.h"
#include "proto/codec.h"
#include "proto/frame.h"
#include "proto/msg.h"
#include "proto/pcapng.h"

#include "collector/cmd.h"
#include "collector/pki.h"

#include "tests/tls_lab.h"

/* vmtap pull, against an agent made by hand. */

static const uint8_t	 stream[MSG_ID_SIZE] = { 9, 8, 7 };
static struct buf	 script;	/* what the agent says */
static struct buf	 raw;		/* of the next block */
static char		 text[2048];	/* the operator's stderr */

static void
set_up(void)
{
	buf_init(&script, 16 * 1024 * 1024);
	buf_init(&raw, MSG_BLOCK_RAW_MAX);
}

static void
tear_down(void)
{
	buf_clear(&script);
	buf_clear(&raw);
}

static void
lab_open_operator(void)
{
	struct pki_request	 request = { .not_before = time(NULL) - 300, .not_after = time(NULL) + 86400,
		    .identity = { .role = ROLE_OPERATOR, .tenant = "acme", .name = "op" } };
	struct pki_made		 made;
	char			 error[PKI_ERROR_SIZE] = "";

	lab_open();
	ck_assert_msg(pki_issue(lab_path("good", ""), &request, &made, error) == 0, "%s", error);
}

/* The agent's words. */

static void
say_hello(void)
{
	struct msg_hello	 hello = { .version_min = 1, .version_max = 1, .codecs = 1 };

	ck_assert_int_eq(msg_put_hello(&script, &hello), 0);
}

static void
say_addresses(void)
{
	struct msg_addresses	 msg = { .count = 1, .address = { { AF_INET, { 192, 0, 2, 1 } } } };

	ck_assert_int_eq(msg_put_addresses(&script, &msg), 0);
}

static void
say_interface(uint32_t id)
{
	struct pcapng_interface	 interface = { .linktype = 1, .name = "eth0" };
	struct msg_interface	 msg = { .id = id };
	struct buf		 idb;

	buf_init(&idb, MSG_IDB_MAX);
	ck_assert_int_eq(pcapng_put_idb(&idb, &interface), 0);
	memcpy(msg.stream, stream, MSG_ID_SIZE);
	msg.idb = idb.data;
	msg.idb_len = idb.len;
	ck_assert_int_eq(msg_put_interface(&script, &msg), 0);
	buf_clear(&idb);
}

/* raw, as a block of so many packets. */
static void
say_block(uint64_t number, uint32_t packets)
{
	struct msg_block	 block = { .number = number, .codec = CODEC_NONE, .raw_len = (uint32_t)raw.len, .packets = packets,
		    .data_len = raw.len };

	memcpy(block.stream, stream, MSG_ID_SIZE);
	if (packets > 0)
		block.first_ns = block.last_ns = 1;
	ck_assert_int_eq(msg_put_block_header(&script, &block), 0);
	ck_assert_int_eq(buf_put(&script, raw.data, raw.len), 0);
	raw.len = 0;
}

static void
add_packet(uint32_t interface, uint64_t dropped)
{
	static const uint8_t	 data[60];
	struct pcapng_packet	 packet = { .interface = interface, .time_ns = 1, .captured_len = 60, .original_len = 60, .data = data,
		    .dropped = dropped };

	ck_assert_int_eq(pcapng_put_epb(&raw, &packet), 0);
}

static void
say_gap(uint64_t first, uint64_t last, uint64_t packets)
{
	struct msg_gap	 gap = { .first = first, .last = last, .packets = packets, .place = GAP_PULL };

	memcpy(gap.stream, stream, MSG_ID_SIZE);
	ck_assert_int_eq(msg_put_gap(&script, &gap), 0);
}

static void
say_bye(const char *why)
{
	struct msg_end	 end = { .code = 0 };

	snprintf(end.text, sizeof(end.text), "%s", why);
	ck_assert_int_eq(msg_put_bye(&script, &end), 0);
}

/* Both processes. */

static void
on_agent_opened(struct lab_end *end)
{
	const size_t	 piece = 256 * 1024;

	for (size_t at = 0; at < script.len; at += piece)
		ck_assert_int_eq(tlsio_write(end->t, script.data + at, script.len - at < piece ? script.len - at : piece), 0);
}

static int
listen_on(char where[32])
{
	struct sockaddr_in	 sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t		 len = sizeof(sin);
	int			 fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	snprintf(where, 32, "127.0.0.1:%u", ntohs(sin.sin_port));
	return fd;
}

static void __attribute__((noreturn))
operate(char *where, const char *option, int out_fd, int error_fd)
{
	char	 ca[128], cert[128], key[128];
	char	*argv[] = { (char []){ "pull" }, where, (char []){ "--ca" }, ca, (char []){ "--cert" }, cert, (char []){ "--key" }, key,
		    (char *)(uintptr_t)option, NULL };

	snprintf(ca, sizeof(ca), "%s", lab_path("good", "ca.crt"));
	snprintf(cert, sizeof(cert), "%s", lab_path("good", "op.crt"));
	snprintf(key, sizeof(key), "%s", lab_path("good", "op.key"));
	signal(SIGPIPE, SIG_IGN);
	dup2(out_fd, 1);
	dup2(error_fd, 2);
	exit(cmd_pull(option != NULL ? 9 : 8, argv));
}

static void
read_text(int fd)
{
	size_t	 len = 0;
	ssize_t	 n;

	while ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(fd);
}

/* The agent speaks its script to an operator whose output is out_fd (closed here). The operator's exit status. */
static int
run(const char *option, int out_fd)
{
	struct event_base	*base = event_base_new();
	struct tls_context	*web1 = lab_context("good", "good", "web1");
	struct lab_end		 agent = { .on_opened = on_agent_opened };
	char			 where[32];
	int			 fds[2], listener = listen_on(where), status = 0;
	pid_t			 pid;

	ck_assert_int_eq(pipe(fds), 0);
	fflush(NULL);
	if ((pid = fork()) == 0)
		operate(where, option, out_fd, fds[1]);
	close(fds[1]);
	close(out_fd);
	lab_end_open(&agent, base, web1, accept(listener, NULL, NULL), TLSIO_SERVER);
	lab_run(base, &agent.closed);
	tlsio_free(agent.t);
	close(listener);
	tls_context_free(web1);
	event_base_free(base);
	read_text(fds[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "%s", text);
	return WEXITSTATUS(status);
}

static int
run_quiet(void)
{
	return run(NULL, open("/dev/null", O_WRONLY));
}

static void
expect(const char *words)
{
	ck_assert_msg(strstr(text, words) != NULL, "\"%s\" is not in: %s", words, text);
}

START_TEST(counts_losses)
{
	say_hello();
	say_interface(0);
	say_addresses();
	add_packet(0, 0);
	add_packet(0, 5);
	say_block(1, 2);
	say_gap(2, 4, 30);
	add_packet(0, 7);
	say_block(5, 1);
	say_bye("enough");
	ck_assert_int_eq(run_quiet(), 1);
	expect("the agent ends the session: enough\n");
	expect("3 packets captured, 30 lost on the way, 12 dropped by kernel\n");
}
END_TEST

START_TEST(count_reached)
{
	say_hello();
	say_interface(0);
	for (unsigned i = 0; i < 10; i++)
		add_packet(0, 0);
	say_block(1, 10);
	ck_assert_int_eq(run("-c4", open("/dev/null", O_WRONLY)), 0);
	ck_assert_str_eq(text, "4 packets captured, 0 lost on the way, 0 dropped by kernel\n");
}
END_TEST

/* Whoever reads us may have enough; a full disk is another thing. */
START_TEST(output_ends)
{
	int	 fds[2];

	say_hello();
	say_interface(0);
	add_packet(0, 0);
	say_block(1, 1);
	ck_assert_int_eq(pipe(fds), 0);
	close(fds[0]);
	ck_assert_int_eq(run(NULL, fds[1]), 0);
	ck_assert_ptr_null(strstr(text, "write"));
	ck_assert_int_eq(run(NULL, open("/dev/full", O_WRONLY)), 1);
	expect("vmtap pull: cannot write: No space left on device\n");
}
END_TEST

START_TEST(words_are_escaped)
{
	say_hello();
	say_bye("\x1b[2Jgone");
	ck_assert_int_eq(run_quiet(), 1);
	expect("\\x1b[2Jgone");
	ck_assert_ptr_null(strchr(text, '\x1b'));
}
END_TEST

/* What no agent of ours would say; each ends the pull with one line that says why. */

static void
before_hello(void)
{
	say_interface(0);
}

static void
second_hello(void)
{
	say_hello();
	say_hello();
}

static void
skipped_block(void)
{
	say_hello();
	say_interface(0);
	add_packet(0, 0);
	say_block(2, 1);
}

static void
repeated_block(void)
{
	say_hello();
	say_interface(0);
	add_packet(0, 0);
	say_block(1, 1);
	add_packet(0, 0);
	say_block(1, 1);
}

static void
skipped_gap(void)
{
	say_hello();
	say_gap(3, 4, 1);
}

static void
undeclared_interface(void)
{
	say_hello();
	add_packet(3, 0);
	say_block(1, 1);
}

static void
malformed_block(void)
{
	say_hello();
	say_interface(0);
	ck_assert_int_eq(buf_put(&raw, "not pcapng at all...", 20), 0);
	say_block(1, 0);
}

static void
endless_interfaces(void)
{
	say_hello();
	for (uint32_t i = 0; i < 2000; i++) {
		size_t	 at = script.len;

		say_interface(i % MSG_INTERFACES_MAX);
		script.data[at + FRAME_HEADER_SIZE + 4] = (uint8_t)(i / MSG_INTERFACES_MAX);	/* another stream's */
	}
}

static const struct {
	void		(*say)(void);
	const char	*why;
} hostile[] = {
	{ before_hello, "malformed or unexpected INTERFACE message" },
	{ second_hello, "malformed or unexpected HELLO message" },
	{ skipped_block, "malformed or unexpected BLOCK message" },
	{ repeated_block, "malformed or unexpected BLOCK message" },
	{ skipped_gap, "malformed or unexpected GAP message" },
	{ undeclared_interface, "a packet of interface 3, which was not described" },
	{ malformed_block, "malformed or unexpected BLOCK message" },
	{ endless_interfaces, "malformed or unexpected INTERFACE message" },
};

START_TEST(hostile_agent)
{
	hostile[_i].say();
	ck_assert_int_eq(run_quiet(), 1);
	expect("vmtap pull: ");
	expect(hostile[_i].why);
}
END_TEST

int
main(void)
{
	Suite	*suite = suite_create("pull");
	TCase	*tc = tcase_create("pull");
	SRunner	*runner = srunner_create(suite);
	int	 failed;

	log_init("check_pull", LOG_LEVEL_ERROR);
	tcase_add_unchecked_fixture(tc, lab_open_operator, lab_close);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, counts_losses);
	tcase_add_test(tc, count_reached);
	tcase_add_test(tc, output_ends);
	tcase_add_test(tc, words_are_escaped);
	tcase_add_loop_test(tc, hostile_agent, 0, (int)(sizeof(hostile) / sizeof(hostile[0])));
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
