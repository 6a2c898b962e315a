/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "common/conf.h"

struct options {
	struct conf_list interfaces, collectors;
	char		*filter, *config, *key;
	uint64_t	 snaplen, spool, flush, rate;
	int		 direction;
	bool		 daemon, promiscuous, dump, help, secret;
};

#define AT(field)	offsetof(struct options, field)

static const struct conf_row rows[] = {
	{ "interface", 'i', CONF_LIST, 0, 0, NULL, "INTERFACE", NULL, 0, AT(interfaces),
	    "capture this interface; a pattern such as 'eth*' too" },
	{ "collector", 0, CONF_LIST, 0, 0, "localhost", "HOST[:PORT]", NULL, CONF_RELOAD, AT(collectors),
	    "send to this collector" },
	{ "filter", 0, CONF_STRING, 0, 0, NULL, NULL, NULL, CONF_RELOAD, AT(filter), "pcap-filter(7) expression" },
	{ "snaplen", 's', CONF_UINT, 1, 262144, "262144", "BYTES", NULL, CONF_RELOAD, AT(snaplen), "bytes kept of each packet" },
	{ "spool-memory", 0, CONF_SIZE, 2097152, 1073741824, "16M", NULL, NULL, 0, AT(spool),
	    "memory for what is not acknowledged" },
	{ "flush-interval", 0, CONF_TIME, 10, 60000, "250ms", NULL, NULL, 0, AT(flush), "longest wait of a packet" },
	{ "rate-limit", 0, CONF_SIZE, 1000, 0, NULL, NULL, NULL, CONF_RELOAD, AT(rate), "bits a second" },
	{ "direction", 'Q', CONF_ENUM, 0, 0, "inout", NULL, "inout|in|out", CONF_RELOAD, AT(direction), "which packets" },
	{ "daemon", 0, CONF_FLAG, 0, 0, "no", NULL, NULL, 0, AT(daemon), "go to the background" },
	{ "promiscuous", 'p', CONF_FLAG, 0, 0, NULL, NULL, NULL, 0, AT(promiscuous), "see others' packets" },
	{ "key", 0, CONF_STRING, 0, 0, "/etc/key", "FILE", NULL, 0, AT(key), "own key" },
	{ "config", 0, CONF_STRING, 0, 0, NULL, "FILE", NULL, CONF_NO_FILE, AT(config), "read this file" },
	{ "dump-filter", 'd', CONF_FLAG, 0, 0, NULL, NULL, NULL, CONF_NO_FILE, AT(dump), "print the filter and exit" },
	{ "help", 0, CONF_FLAG, 0, 0, NULL, NULL, NULL, CONF_NO_FILE, AT(help), "show this" },
	{ "secret-role", 0, CONF_FLAG, 0, 0, NULL, NULL, NULL, CONF_HIDDEN | CONF_NO_FILE, AT(secret), "never shown" },
	{ .name = NULL }
};

static struct options	 o;
static struct conf_error e;

static void
setup(void)
{
	memset(&o, 0, sizeof(o));
	memset(&e, 0, sizeof(e));
	ck_assert_int_eq(conf_defaults(rows, &o, &e), 0);
}

static void
teardown(void)
{
	conf_free(rows, &o);
}

/* The words of text, parsed as a command line behind the program's name; rest counts from the first word. */
static int
parse_args(const char *text, int *rest)
{
	static char	 words[1024];
	char		*argv[32], *word, *state;
	int		 argc = 0;

	argv[argc++] = (char *)"program";
	snprintf(words, sizeof(words), "%s", text);
	for (word = strtok_r(words, " ", &state); word != NULL; word = strtok_r(NULL, " ", &state))
		argv[argc++] = word;
	argv[argc] = NULL;
	return conf_parse_args(rows, &o, argc, argv, rest, &e);
}

static char *
to_text(void)
{
	char	*text = conf_to_text(rows, &o);

	ck_assert_ptr_nonnull(text);
	return text;
}

START_TEST(defaults_are_set)
{
	ck_assert_uint_eq(o.snaplen, 262144);
	ck_assert_uint_eq(o.spool, 16u << 20);
	ck_assert_uint_eq(o.flush, 250);
	ck_assert_uint_eq(o.rate, 0);
	ck_assert_ptr_null(o.filter);
	ck_assert_str_eq(o.key, "/etc/key");
	ck_assert_uint_eq(o.interfaces.count, 0);
	ck_assert_uint_eq(o.collectors.count, 1);
	ck_assert_str_eq(o.collectors.value[0], "localhost");
	ck_assert(!o.daemon);
}
END_TEST

START_TEST(file_sets_all_types)
{
	ck_assert_int_eq(conf_parse_text(rows, &o, "a.conf",
	    "# comment\n\n  \t\n"
	    "interface = eth0\r\n"
	    "interface eth#1\t# the second\n"
	    "  collector=a:1  \n"
	    "filter   ip[6:2] & 0x1fff = 0 and not port 22 # no shells\n"
	    "snaplen\t=\t96\n"
	    "spool-memory = 4m\n"
	    "flush-interval 1\n"
	    "rate-limit = 10M\n"
	    "direction = out\n"
	    "daemon\n"
	    "promiscuous = \"yes\" # quoted\n"
	    "key = \" a\\\\b\\\"c\\n\\x41#\"", &e), 0);
	ck_assert_uint_eq(o.interfaces.count, 2);
	ck_assert_str_eq(o.interfaces.value[0], "eth0");
	ck_assert_str_eq(o.interfaces.value[1], "eth#1");
	ck_assert_str_eq(o.interfaces.origin[1], "a.conf:5");
	ck_assert_uint_eq(o.collectors.count, 1);
	ck_assert_str_eq(o.collectors.value[0], "a:1");
	ck_assert_str_eq(o.filter, "ip[6:2] & 0x1fff = 0 and not port 22");
	ck_assert_uint_eq(o.snaplen, 96);
	ck_assert_uint_eq(o.spool, 4u << 20);
	ck_assert_uint_eq(o.flush, 1000);
	ck_assert_uint_eq(o.rate, 10u << 20);
	ck_assert_int_eq(o.direction, 2);
	ck_assert(o.daemon);
	ck_assert(o.promiscuous);
	ck_assert_str_eq(o.key, " a\\b\"c\nA#");
}
END_TEST

static const struct {
	const char	*text, *error;
} bad_files[] = {
	{ "\n\ninterfce = eth0", "f:3: unknown option \"interfce\"; did you mean \"interface\"?" },
	{ "sanplen 5", "f:1: unknown option \"sanplen\"; did you mean \"snaplen\"?" },
	{ "zzzzzz 5", "f:1: unknown option \"zzzzzz\"" },
	{ "x", "f:1: unknown option \"x\"" },
	{ "bad\x1b[2J 5", "f:1: unknown option \"bad?[2J\"" },
	{ "Interface = eth0", "f:1: unknown option \"Interface\"; did you mean \"interface\"?" },
	{ "dump-filte yes", "f:1: unknown option \"dump-filte\"" },
	{ "dump-filter yes", "f:1: \"dump-filter\" stands only on the command line, as --dump-filter" },
	{ "snaplen 0", "f:1: snaplen 0: must be from 1 to 262144" },
	{ "snaplen 262145", "f:1: snaplen 262145: must be from 1 to 262144" },
	{ "snaplen -1", "f:1: snaplen -1: not a number; must be from 1 to 262144" },
	{ "snaplen 96 bytes", "f:1: snaplen 96 bytes: not a number; must be from 1 to 262144" },
	{ "snaplen 18446744073709551617", "f:1: snaplen 18446744073709551617: not a number; must be from 1 to 262144" },
	{ "snaplen = 1\n\nsnaplen = 1", "f:3: \"snaplen\" was already given on line 1" },
	{ "snaplen", "f:1: snaplen: missing value" },
	{ "snaplen =", "f:1: snaplen: missing value" },
	{ "snaplen = # 96", "f:1: snaplen: missing value" },
	{ "interface = \t", "f:1: interface: missing value" },
	{ "daemon =", "f:1: daemon: missing value" },
	{ "daemon maybe", "f:1: daemon maybe: must be yes or no" },
	{ "spool-memory 1M", "f:1: spool-memory 1M: must be from 2M to 1G" },
	{ "spool-memory 2X", "f:1: spool-memory 2X: not a size such as 16M; must be from 2M to 1G" },
	{ "spool-memory 20000000T", "f:1: spool-memory 20000000T: not a size such as 16M; must be from 2M to 1G" },
	{ "rate-limit 5", "f:1: rate-limit 5: must be at least 1000" },
	{ "flush-interval 9ms", "f:1: flush-interval 9ms: must be from 10ms to 1m" },
	{ "flush-interval 1w", "f:1: flush-interval 1w: not a time such as 250ms, 10s or 5m; must be from 10ms to 1m" },
	{ "direction sideways", "f:1: direction sideways: must be inout, in or out" },
	{ "direction i", "f:1: direction i: must be inout, in or out" },
	{ "direction inout|in", "f:1: direction inout|in: must be inout, in or out" },
	{ "= 5", "f:1: name is missing before \"=\"" },
	{ "key \"abc", "f:1: key: closing quote is missing" },
	{ "key \"abc\\", "f:1: key: after a backslash only \\ \" n xNN are known" },
	{ "key \"a\\tb\"", "f:1: key: after a backslash only \\ \" n xNN are known" },
	{ "key \"a\\x0", "f:1: key: after a backslash only \\ \" n xNN are known" },
	{ "key \"a\\x00\"", "f:1: key: after a backslash only \\ \" n xNN are known" },
	{ "key \"a\" b", "f:1: key: text behind the closing quote" },
	{ "key \"a\"#b", "f:1: key: text behind the closing quote" },
};

/* Good lines around the bad one must leave no trace either. */
START_TEST(bad_file_changes_nothing)
{
	char	 text[512], *before = to_text(), *after;

	snprintf(text, sizeof(text), "%s\n", bad_files[_i].text);
	ck_assert_int_eq(conf_parse_text(rows, &o, "f", text, &e), -1);
	ck_assert_str_eq(e.text, bad_files[_i].error);
	snprintf(text, sizeof(text), "%s\ninterface eth9\ncollector x\nfilter y\ndaemon\n", bad_files[_i].text);
	ck_assert_int_eq(conf_parse_text(rows, &o, "f", text, &e), -1);
	after = to_text();
	ck_assert_str_eq(before, after);
	free(before);
	free(after);
}
END_TEST

START_TEST(error_after_good_lines_changes_nothing)
{
	ck_assert_int_eq(conf_parse_text(rows, &o, "f", "interface eth9\nfilter y\ncollector x\nsnaplen 0", &e), -1);
	ck_assert_uint_eq(o.interfaces.count, 0);
	ck_assert_ptr_null(o.filter);
	ck_assert_str_eq(o.collectors.value[0], "localhost");
}
END_TEST

START_TEST(args_set_all_types)
{
	int	 rest = -1;

	ck_assert_int_eq(parse_args("-i eth0 -ieth1 --interface=lo -s 96 --spool-memory 2M -Q in -pd --daemon=yes tcp -s 5",
	    &rest), 0);
	ck_assert_int_eq(rest, 13);
	ck_assert_uint_eq(o.interfaces.count, 3);
	ck_assert_str_eq(o.interfaces.value[1], "eth1");
	ck_assert_str_eq(o.interfaces.origin[2], "command line");
	ck_assert_uint_eq(o.snaplen, 96);
	ck_assert_int_eq(o.direction, 1);
	ck_assert(o.promiscuous && o.dump && o.daemon);
	ck_assert_int_eq(parse_args("--no-such=no", &rest), -1);
	ck_assert_int_eq(parse_args("--daemon=no -- -s", &rest), 0);
	ck_assert_int_eq(rest, 3);
	ck_assert(!o.daemon);
	ck_assert_uint_eq(o.interfaces.count, 3);
	ck_assert_int_eq(parse_args("", &rest), 0);
	ck_assert_int_eq(rest, 1);
}
END_TEST

static const struct {
	const char	*args, *error;
} bad_args[] = {
	{ "--interfce eth0", "unknown option \"--interfce\"; did you mean \"--interface\"?" },
	{ "--interfce=eth0", "unknown option \"--interfce\"; did you mean \"--interface\"?" },
	{ "--zzzzzz", "unknown option \"--zzzzzz\"" },
	{ "--secret-rolf", "unknown option \"--secret-rolf\"" },
	{ "--co x", "option \"--co\" may be \"--collector\" or \"--config\"" },
	{ "-Z", "unknown option \"-Z\"" },
	{ "-pZ", "unknown option \"-Z\"" },
	{ "-i", "--interface: missing value" },
	{ "-s 5 --snaplen", "--snaplen: missing value" },
	{ "--snaplen 0", "--snaplen 0: must be from 1 to 262144" },
	{ "--snaplen=", "--snaplen : not a number; must be from 1 to 262144" },
	{ "-s 0", "--snaplen 0: must be from 1 to 262144" },
	{ "--daemon=maybe", "--daemon maybe: must be yes or no" },
	{ "-Q up", "--direction up: must be inout, in or out" },
};

START_TEST(bad_args_change_nothing)
{
	char	 text[256], *before = to_text(), *after;
	int	 rest = 77;

	snprintf(text, sizeof(text), "-i eth9 --collector x -p --filter y %s", bad_args[_i].args);
	ck_assert_int_eq(parse_args(text, &rest), -1);
	ck_assert_str_eq(e.text, bad_args[_i].error);
	ck_assert_int_eq(rest, 77);
	after = to_text();
	ck_assert_str_eq(before, after);
	free(before);
	free(after);
}
END_TEST

static const char *const odd_texts[] = {
	"tcp", "", " ", " x", "x ", "a\tb", "a\nb", "\n", "\x01\x1f", "a # b", "# b", "a#b", "\"", "\"a\"", "a\"b\\c", "\\",
	" \\\"",
	"= x", "=", "x=", "a\r", "\xc3\xa9\xff", "ip proto \\tcp",
};

START_TEST(text_round_trips)
{
	struct options	 copy = { 0 };
	char		*text, *again;
	int		 rest;

	ck_assert_int_eq(parse_args("-s 1 --spool-memory 3000001 --flush-interval 61ms --rate-limit 2000 -Q out -p --daemon -d",
	    &rest), 0);
	ck_assert_int_eq(conf_parse_args(rows, &o, 7, (char *[]){ (char *)"p", (char *)"--filter", (char *)(uintptr_t)odd_texts[_i],
	    (char *)"-i", (char *)(uintptr_t)odd_texts[_i], (char *)"-i", (char *)"second", NULL }, &rest, &e), 0);
	text = to_text();
	ck_assert_int_eq(conf_defaults(rows, &copy, &e), 0);
	ck_assert_msg(conf_parse_text(rows, &copy, "text", text, &e) == 0, "%s", e.text);
	ck_assert_str_eq(copy.filter, odd_texts[_i]);
	ck_assert_uint_eq(copy.interfaces.count, 2);
	ck_assert_str_eq(copy.interfaces.value[0], odd_texts[_i]);
	ck_assert_str_eq(copy.interfaces.value[1], "second");
	ck_assert_uint_eq(copy.snaplen, 1);
	ck_assert_uint_eq(copy.spool, 3000001);
	ck_assert_uint_eq(copy.flush, 61);
	ck_assert_uint_eq(copy.rate, 2000);
	ck_assert_int_eq(copy.direction, 2);
	ck_assert(copy.promiscuous && copy.daemon && !copy.dump);
	again = conf_to_text(rows, &copy);
	ck_assert_str_eq(text, again);
	free(text);
	free(again);
	conf_free(rows, &copy);
}
END_TEST

START_TEST(restart_is_asked_for_by_name)
{
	struct options	 fresh = { 0 };

	ck_assert_int_eq(conf_defaults(rows, &fresh, &e), 0);
	ck_assert_ptr_null(conf_needs_restart(rows, &o, &fresh));
	ck_assert_int_eq(conf_parse_text(rows, &fresh, "f", "filter tcp\nsnaplen 5\ncollector x\nrate-limit 1M", &e), 0);
	ck_assert_ptr_null(conf_needs_restart(rows, &o, &fresh));
	ck_assert_int_eq(conf_parse_text(rows, &fresh, "f", "key /k", &e), 0);
	ck_assert_str_eq(conf_needs_restart(rows, &o, &fresh), "key");
	ck_assert_int_eq(conf_parse_text(rows, &fresh, "f", "daemon", &e), 0);
	ck_assert_str_eq(conf_needs_restart(rows, &o, &fresh), "daemon");
	ck_assert_int_eq(conf_parse_text(rows, &fresh, "f", "spool-memory 17M", &e), 0);
	ck_assert_str_eq(conf_needs_restart(rows, &o, &fresh), "spool-memory");
	ck_assert_int_eq(conf_parse_text(rows, &fresh, "f", "interface a", &e), 0);
	ck_assert_int_eq(conf_parse_text(rows, &o, "f", "interface b", &e), 0);
	ck_assert_str_eq(conf_needs_restart(rows, &o, &fresh), "interface");
	conf_free(rows, &fresh);
}
END_TEST

static char	path[] = "/tmp/check_conf.XXXXXX";

static void
write_file(const void *bytes, size_t n)
{
	int	 fd;

	strcpy(path + sizeof(path) - 7, "XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
	close(fd);
}

static int
load(const char *option, const char *value, const char *default_path, int *rest)
{
	char	*argv[] = { (char *)"p", (char *)(uintptr_t)option, (char *)(uintptr_t)value, (char *)"tcp", NULL };

	return conf_load(rows, &o, 4, argv, default_path, AT(config), rest, &e);
}

START_TEST(command_line_replaces_file_replaces_defaults)
{
	static const char text[] = "interface = a\ninterface = b\nsnaplen = 5\ncollector = c\n";
	int	 rest = 0;

	write_file(text, sizeof(text) - 1);
	ck_assert_int_eq(load("--snaplen", "7", path, &rest), 0);
	ck_assert_int_eq(rest, 3);
	ck_assert_uint_eq(o.snaplen, 7);
	ck_assert_uint_eq(o.interfaces.count, 2);
	ck_assert_str_eq(o.collectors.value[0], "c");
	ck_assert_uint_eq(o.flush, 250);
	ck_assert_int_eq(load("-i", "z", path, &rest), 0);
	ck_assert_uint_eq(o.snaplen, 5);
	ck_assert_uint_eq(o.interfaces.count, 1);
	ck_assert_str_eq(o.interfaces.value[0], "z");
	ck_assert_int_eq(load("--config", path, "/nowhere", &rest), 0);
	ck_assert_str_eq(o.config, path);
	ck_assert_uint_eq(o.snaplen, 5);
	unlink(path);
	ck_assert_int_eq(load("-s", "9", path, &rest), 0);
	ck_assert_uint_eq(o.interfaces.count, 0);
	ck_assert_uint_eq(o.snaplen, 9);
	ck_assert_int_eq(load("-s", "8", NULL, &rest), 0);
	ck_assert_uint_eq(o.snaplen, 8);
}
END_TEST

START_TEST(bad_file_is_refused_whole)
{
	char	 expected[128];
	int	 rest = 77;

	ck_assert_int_eq(load("--config", "/no/such/file", NULL, &rest), -1);
	ck_assert_str_eq(e.text, "/no/such/file: No such file or directory");
	ck_assert_int_eq(load("--config", "/tmp", NULL, &rest), -1);
	ck_assert_str_eq(e.text, "/tmp: Is a directory");
	write_file("snaplen 5\nspool-memory 1\n", 25);
	ck_assert_int_eq(load("-s", "9", path, &rest), -1);
	snprintf(expected, sizeof(expected), "%s:2: spool-memory 1: must be from 2M to 1G", path);
	ck_assert_str_eq(e.text, expected);
	ck_assert_uint_eq(o.snaplen, 262144);
	ck_assert_int_eq(load("--help", "x", path, &rest), 0);
	ck_assert(o.help);
	unlink(path);
	write_file("snaplen 5\n\0daemon", 17);
	ck_assert_int_eq(load("-s", "9", path, &rest), -1);
	ck_assert_ptr_nonnull(strstr(e.text, ": holds NUL bytes, so is no config file"));
	ck_assert_int_eq(truncate(path, 2 * 1024 * 1024), 0);
	ck_assert_int_eq(load("-s", "9", path, &rest), -1);
	ck_assert_ptr_nonnull(strstr(e.text, ": File too large"));
	unlink(path);
	ck_assert_uint_eq(o.snaplen, 262144);
}
END_TEST

START_TEST(help_lines_up)
{
	char	*text = NULL;
	size_t	 n;
	FILE	*out = open_memstream(&text, &n);

	conf_help(rows, out);
	fclose(out);
	ck_assert_str_eq(text,
	    "  -i, --interface=INTERFACE  capture this interface; a pattern such as 'eth*'\n"
	    "                             too (repeatable)\n"
	    "      --collector=HOST[:PORT]\n"
	    "                             send to this collector (repeatable; default\n"
	    "                             localhost)\n"
	    "      --filter=TEXT          pcap-filter(7) expression\n"
	    "  -s, --snaplen=BYTES        bytes kept of each packet (default 262144)\n"
	    "      --spool-memory=SIZE    memory for what is not acknowledged (default 16M)\n"
	    "      --flush-interval=TIME  longest wait of a packet (default 250ms)\n"
	    "      --rate-limit=SIZE      bits a second\n"
	    "  -Q, --direction=inout|in|out\n"
	    "                             which packets (default inout)\n"
	    "      --daemon               go to the background\n"
	    "  -p, --promiscuous          see others' packets\n"
	    "      --key=FILE             own key (default /etc/key)\n"
	    "      --config=FILE          read this file\n"
	    "  -d, --dump-filter          print the filter and exit\n"
	    "      --help                 show this\n");
	free(text);
}
END_TEST

START_TEST(usage_is_one_line_and_status_2)
{
	int	 fds[2], status;
	char	 text[128] = "";
	pid_t	 pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		conf_error_set(&e, "--%s\n%d", "x", 5);
		conf_usage("vmtap", &e);
	}
	close(fds[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_gt((int)read(fds[0], text, sizeof(text) - 1), 0);
	close(fds[0]);
	ck_assert_str_eq(text, "vmtap: --x?5\n");
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 2);
}
END_TEST

static const struct {
	const char	*text, *host;
	uint16_t	 port;
	const char	*error;
} hosts[] = {
	{ "a.example", "a.example", 8827, NULL },
	{ "a-b_c.example:1", "a-b_c.example", 1, NULL },
	{ "192.0.2.1:65535", "192.0.2.1", 65535, NULL },
	{ "2001:db8::1", "2001:db8::1", 8827, NULL },
	{ "::", "::", 8827, NULL },
	{ "fe80::1%eth0", "fe80::1%eth0", 8827, NULL },
	{ "[2001:db8::1]", "2001:db8::1", 8827, NULL },
	{ "[fe80::1%eth0]:99", "fe80::1%eth0", 99, NULL },
	{ "", NULL, 0, ": must be HOST or HOST:PORT" },
	{ ":", NULL, 0, ":: host is missing before the port" },
	{ ":5", NULL, 0, ":5: host is missing before the port" },
	{ "a:", NULL, 0, "a:: port must be from 1 to 65535" },
	{ "a:0", NULL, 0, "a:0: port must be from 1 to 65535" },
	{ "a:99999", NULL, 0, "a:99999: port must be from 1 to 65535" },
	{ "a:65536", NULL, 0, "a:65536: port must be from 1 to 65535" },
	{ "a:-1", NULL, 0, "a:-1: port must be from 1 to 65535" },
	{ "a:8827x", NULL, 0, "a:8827x: port must be from 1 to 65535" },
	{ "a:18446744073709551617", NULL, 0, "a:18446744073709551617: port must be from 1 to 65535" },
	{ "a b", NULL, 0, "a b: not a host name or address" },
	{ "https://a", NULL, 0, "https://a: port must be from 1 to 65535" },
	{ "a/b", NULL, 0, "a/b: not a host name or address" },
	{ "[::1", NULL, 0, "[::1: \"]\" is missing" },
	{ "[::1]x", NULL, 0, "[::1]x: port must be from 1 to 65535" },
	{ "[::1]:0", NULL, 0, "[::1]:0: port must be from 1 to 65535" },
	{ "[a]:5", NULL, 0, "[a]:5: no IPv6 address in the brackets" },
	{ "[]:5", NULL, 0, "[]:5: no IPv6 address in the brackets" },
	{ "1:2:3", NULL, 0, "1:2:3: not an IPv6 address (with a port: [ADDRESS]:PORT)" },
	{ "123456789.12345", NULL, 0, "123456789.12345: host name is too long" },
};

START_TEST(host_and_port)
{
	char		 host[15] = "";
	uint16_t	 port = 0;
	int		 status = conf_host_port(hosts[_i].text, 8827, host, sizeof(host), &port, &e);

	if (hosts[_i].error == NULL) {
		ck_assert_msg(status == 0, "%s", e.text);
		ck_assert_str_eq(host, hosts[_i].host);
		ck_assert_uint_eq(port, hosts[_i].port);
		return;
	}
	ck_assert_int_eq(status, -1);
	ck_assert_str_eq(e.text, hosts[_i].error);
	ck_assert_str_eq(host, "");
	ck_assert_uint_eq(port, 0);
}
END_TEST

START_TEST(place_of_a_list_value)
{
	char		 host[64];
	uint16_t	 port;

	ck_assert_int_eq(conf_host_port("1.2.3.4:99999", 1, host, sizeof(host), &port, &e), -1);
	conf_error_place(&e, CONF_COMMAND_LINE, "listen");
	ck_assert_str_eq(e.text, "--listen 1.2.3.4:99999: port must be from 1 to 65535");
	conf_error_set(&e, "x: bad");
	conf_error_place(&e, "/etc/a:3", "listen");
	ck_assert_str_eq(e.text, "/etc/a:3: listen x: bad");
}
END_TEST

static TCase *
add_case(Suite *suite, const char *name)
{
	TCase	*tc = tcase_create(name);

	tcase_add_checked_fixture(tc, setup, teardown);
	suite_add_tcase(suite, tc);
	return tc;
}

#define COUNT(array)	((int)(sizeof(array) / sizeof((array)[0])))

int
main(void)
{
	Suite		*suite = suite_create("conf");
	SRunner		*runner = srunner_create(suite);
	TCase		*tc = add_case(suite, "text");
	int		 failed;

	tcase_add_test(tc, defaults_are_set);
	tcase_add_test(tc, file_sets_all_types);
	tcase_add_loop_test(tc, bad_file_changes_nothing, 0, COUNT(bad_files));
	tcase_add_test(tc, error_after_good_lines_changes_nothing);
	tcase_add_loop_test(tc, text_round_trips, 0, COUNT(odd_texts));
	tc = add_case(suite, "args");
	tcase_add_test(tc, args_set_all_types);
	tcase_add_loop_test(tc, bad_args_change_nothing, 0, COUNT(bad_args));
	tcase_add_test(tc, restart_is_asked_for_by_name);
	tc = add_case(suite, "load");
	tcase_add_test(tc, command_line_replaces_file_replaces_defaults);
	tcase_add_test(tc, bad_file_is_refused_whole);
	tcase_add_test(tc, help_lines_up);
	tcase_add_test(tc, usage_is_one_line_and_status_2);
	tcase_add_loop_test(tc, host_and_port, 0, COUNT(hosts));
	tcase_add_test(tc, place_of_a_list_value);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
