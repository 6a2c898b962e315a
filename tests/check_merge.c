/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <sqlite3.h>

#include "common/log.h"
#include "proto/flow.h"
#include "proto/pcapng.h"

#include "collector/catalog.h"
#include "collector/cmd.h"
#include "collector/dedup.h"
#include "collector/merge.h"
#include "collector/pcapng_out.h"

#include "tests/dedup_lab.h"

/* vmtap read --merged, and of a VM that left packets out, on a catalog and files made by hand: VM 1 is web1, and so on; each has one
 * stream, of one file. */

#define VMS		4
#define SECOND		LAB_S

static char dir[64];
static sqlite3 *db;
static struct buf file[VMS + 1];

struct seen {
	uint64_t time_ns;		/* after LAB_START */
	uint32_t flags;
	char	 interface[64], comment[256];
};
static struct seen seen[256];
static size_t count;

static void __attribute__((format(printf, 1, 2)))
sql(const char *format, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK, "%s: %s", text, sqlite3_errmsg(db));
}

static const char *
below(const char *path)
{
	static char text[256];

	snprintf(text, sizeof(text), "%s/%s", dir, path);
	return text;
}

static void
set_up(void)
{
	char error[512] = "";

	strcpy(dir, "/tmp/check_merge.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	db = catalog_open(dir, error, sizeof(error));
	ck_assert_msg(db != NULL, "%s", error);
	for (unsigned i = 1; i <= VMS; i++)
		buf_init(&file[i], 1024 * 1024);
	count = 0;
}

static void
tear_down(void)
{
	char command[128];

	for (unsigned i = 1; i <= VMS; i++)
		buf_clear(&file[i]);
	sqlite3_close(db);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static void
add_vm(unsigned vm, const char *tenant, const char *network, int64_t offset_ns)
{
	struct pcapng_interface interface = { .linktype = 1, .name = "eth0" };
	char hex[512] = "";
	size_t at;

	ck_assert_int_eq(pcapng_put_shb(&file[vm], "x86_64", "Linux", "check"), 0);
	at = file[vm].len;
	ck_assert_int_eq(pcapng_put_idb(&file[vm], &interface), 0);
	for (size_t i = at; i < file[vm].len; i++)
		snprintf(hex + 2 * (i - at), 3, "%02x", file[vm].data[i]);
	sql("INSERT INTO vm (uuid, tenant, name, clock_offset_ns) VALUES ('%08u-0000', '%s', 'web%u', %lld)", vm, tenant, vm,
	    (long long)offset_ns);
	sql("INSERT INTO stream (id, vm, started_ns) VALUES (x'%032u', '%08u-0000', 1)", vm, vm);
	sql("INSERT INTO interface (stream, id, name, linktype, idb, network) VALUES (x'%032u', 0, 'eth0', 1, x'%s', '%s')", vm, hex,
	    network);
	sql("INSERT INTO file (id, vm, stream, path, codec, created_ns, length)"
	    " VALUES (%u, '%08u-0000', x'%032u', 'file%u', 'none', 1, 0)", vm, vm, vm, vm);
}

/* Segment seq of the flow from 10.0.0.1 to 10.0.0.2, by a clock that is offset_ns ahead. */
static void
add_packet(unsigned vm, enum dedup_direction direction, uint64_t at, uint32_t seq, int64_t offset_ns)
{
	struct lab_packet packet = { .direction = direction, .at = at + (uint64_t)offset_ns, .protocol = 6, .src = 1, .dst = 2, .seq = seq,
	    .len = 100, .flags = LAB_ACK };
	struct buf block;

	buf_init(&block, 4096);
	lab_make(&block, &packet);
	ck_assert_int_eq(buf_put(&file[vm], block.data, block.len), 0);
	buf_clear(&block);
}

static unsigned
hash_of_the_flow(void)
{
	struct lab_packet packet = { .direction = DEDUP_OUT, .protocol = 6, .src = 1, .dst = 2, .len = 100, .flags = LAB_ACK };
	struct buf block;
	struct flow flow;
	size_t at;

	buf_init(&block, 4096);
	at = lab_make(&block, &packet);
	flow = flow_of(BPF_LINK_ETHERNET, 0, block.data + at, 154);
	ck_assert(flow.known && flow.hash != 0);
	buf_clear(&block);
	return flow.hash;
}

/* What was added becomes durable. */
static void
commit(unsigned vm)
{
	char name[16];
	int fd;

	snprintf(name, sizeof(name), "file%u", vm);
	fd = open(below(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(write(fd, file[vm].data, file[vm].len), (ssize_t)file[vm].len);
	close(fd);
	sql("UPDATE file SET length = %zu WHERE id = %u", file[vm].len, vm);
}

static void
take_packet(const struct pcapng_packet *packet, const uint8_t *block, size_t len, char interfaces[][64])
{
	size_t at = 0, text_len;
	const uint8_t *text;

	ck_assert_uint_lt(count, sizeof(seen) / sizeof(seen[0]));
	memset(&seen[count], 0, sizeof(seen[count]));
	seen[count].time_ns = packet->time_ns - LAB_START;
	seen[count].flags = packet->flags;
	strcpy(seen[count].interface, interfaces[packet->interface]);
	if (pcapng_next_comment(block, len, &at, &text, &text_len) == 1)
		snprintf(seen[count].comment, sizeof(seen[count].comment), "%.*s", (int)text_len, (const char *)text);
	count++;
}

/* All that is in the output. */
static void
look(const char *path)
{
	static uint8_t bytes[1024 * 1024];
	char interfaces[VMS][64];
	struct pcapng_interface interface;
	struct pcapng_packet packet;
	struct pcapng_walk walk;
	const uint8_t *block;
	size_t len, described = 0;
	uint32_t type;
	ssize_t got;
	int fd = open(path, O_RDONLY);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_ge(got = read(fd, bytes, sizeof(bytes)), 0);
	close(fd);
	count = 0;
	pcapng_walk_init(&walk, bytes, (size_t)got);
	while (pcapng_walk_any(&walk, &type, &packet, &block, &len) == 1) {
		if (type == PCAPNG_IDB) {
			ck_assert_int_eq(pcapng_parse_idb(block, len, &interface), 0);
			strcpy(interfaces[described++], interface.name);
		}
		if (type == PCAPNG_EPB)
			take_packet(&packet, block, len, interfaces);
	}
	ck_assert_uint_eq(walk.left, 0);
}

/* Runs the verb in a process of its own; its stderr is in text. Returns the status. */
static int
run_read(const char *const *options, char text[4096])
{
	char *argv[16] = { (char []){ "read" }, (char []){ "--store" }, dir };
	int fds[2], argc = 3, status = 0;
	ssize_t n, len = 0;
	pid_t pid;

	for (; *options != NULL; options++)
		argv[argc++] = (char *)(uintptr_t)*options;
	ck_assert_int_eq(pipe(fds), 0);
	fflush(NULL);
	if ((pid = fork()) == 0) {
		signal(SIGPIPE, SIG_IGN);
		dup2(fds[1], 2);
		exit(cmd_read(argc, argv));
	}
	close(fds[1]);
	while ((n = read(fds[0], text + len, (size_t)(4095 - len))) > 0)
		len += n;
	text[len] = '\0';
	close(fds[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "%s", text);
	return WEXITSTATUS(status);
}

/* web1 sends to web2, whose clock is wrong by a lot; web3, of another tenant, and web4, of another network, have the same. */
static void
three_tenants(void)
{
	add_vm(1, "acme", "", 0);
	add_vm(2, "acme", "", (int64_t)(10 * SECOND));
	add_vm(3, "umbrella", "", 0);
	add_vm(4, "acme", "lab", 0);
	sql("INSERT INTO clock (vm, at_ns, offset_ns, rtt_ns) VALUES ('00000002-0000', 1, %llu, 1), ('00000002-0000', %llu, %llu, 1)",
	    (unsigned long long)(10 * SECOND), (unsigned long long)(LAB_START + 25 * SECOND), (unsigned long long)(20 * SECOND));
	for (unsigned i = 0; i < 10; i++) {
		add_packet(1, DEDUP_OUT, i * SECOND, i * 100, 0);
		add_packet(2, DEDUP_IN, i * SECOND + LAB_US, i * 100, (int64_t)((i < 5 ? 10 : 20) * SECOND));
		add_packet(3, DEDUP_IN, i * SECOND + LAB_US, i * 100, 0);
	}
	add_packet(4, DEDUP_IN, 9 * SECOND + LAB_US, 900, 0);
	for (unsigned i = 1; i <= VMS; i++)
		commit(i);
}

START_TEST(merged)
{
	char out[80], text[4096];
	const char *options[] = { "--merged", "--tenant=ac", "-w", out, "tcp", NULL };

	snprintf(out, sizeof(out), "%s/out", dir);
	three_tenants();
	ck_assert_msg(run_read(options, text) == 0, "%s", text);
	look(out);
	ck_assert_uint_eq(count, 11);
	for (unsigned i = 0; i < 10; i++) {
		ck_assert_uint_eq(seen[i].time_ns, i * SECOND);
		ck_assert_str_eq(seen[i].interface, "web1/eth0");
		ck_assert_str_eq(seen[i].comment, "also seen by web2/eth0");
	}
	ck_assert_str_eq(seen[10].interface, "web4/eth0");
	ck_assert_str_eq(seen[10].comment, "");
	ck_assert_ptr_nonnull(strstr(text, "packets in 21, duplicates removed 10, out 11, written 11;"));
	ck_assert_ptr_nonnull(strstr(text, "web1                     web2                               10\n"));
}
END_TEST

/* The window is the collector's time; what is around it still tells what is a copy. */
START_TEST(from_and_to)
{
	char out[80], text[4096];
	const char *options[] = { "--merged", "--tenant=acme", "-w", out, "--from=@1700000003", "--to=@1700000006", NULL };

	snprintf(out, sizeof(out), "%s/out", dir);
	three_tenants();
	ck_assert_msg(run_read(options, text) == 0, "%s", text);
	look(out);
	ck_assert_uint_eq(count, 4);
	ck_assert_uint_eq(seen[0].time_ns, 3 * SECOND);
	ck_assert_uint_eq(seen[3].time_ns, 6 * SECOND);
	ck_assert_str_eq(seen[3].comment, "also seen by web2/eth0");
}
END_TEST

START_TEST(enough)
{
	char out[80], text[4096];
	const char *options[] = { "--merged", "--tenant=acme", "-w", out, "-c3", NULL };

	snprintf(out, sizeof(out), "%s/out", dir);
	three_tenants();
	ck_assert_msg(run_read(options, text) == 0, "%s", text);
	look(out);
	ck_assert_uint_eq(count, 3);
}
END_TEST

/* web1 sends ten packets to web2, which left out those from the fourth to the eighth, by a clock that is 10 s ahead. */
static void
withholding(void)
{
	add_vm(1, "acme", "", 0);
	add_vm(2, "acme", "", (int64_t)(10 * SECOND));
	for (unsigned i = 0; i < 10; i++) {
		add_packet(1, DEDUP_OUT, i * SECOND, i * 100, 0);
		if (i < 3 || i >= 8)
			add_packet(2, DEDUP_IN, i * SECOND + LAB_US, i * 100, (int64_t)(10 * SECOND));
	}
	add_packet(1, DEDUP_IN, 5 * SECOND, 5000, 0);	/* another one's */
	commit(1);
	commit(2);
	sql("INSERT INTO withheld (vm, peer, address, own, network, balanced, from_ns, to_ns) VALUES ('00000002-0000', '00000001-0000',"
	    " '10.0.0.1', '10.0.0.2', '', 0, %llu, %llu)", (unsigned long long)(LAB_START + 2 * SECOND),
	    (unsigned long long)(LAB_START + 9 * SECOND));
}

START_TEST(whole)
{
	char out[80], text[4096];
	const char *options[] = { "web2", "-w", out, NULL };

	snprintf(out, sizeof(out), "%s/out", dir);
	withholding();
	ck_assert_msg(run_read(options, text) == 0, "%s", text);
	look(out);
	ck_assert_uint_eq(count, 10);
	for (unsigned i = 0; i < 10; i++) {
		bool own = i < 3 || i >= 8;

		ck_assert_uint_eq(seen[i].time_ns, (i + 10) * SECOND + (own ? LAB_US : 0));
		ck_assert_str_eq(seen[i].interface, "eth0");
		ck_assert_uint_eq(seen[i].flags & 3, PCAPNG_EPB_IN);
		ck_assert_str_eq(seen[i].comment, own ? "" : "sent by web1, arrival not observed");
	}
	ck_assert_ptr_nonnull(strstr(text, "5 packets are what web1 delivered for it"));
}
END_TEST

START_TEST(whole_within_a_time)
{
	char out[80], text[4096];
	const char *options[] = { "web2", "-w", out, "--from=@1700000013", "--to=@1700000015", NULL };

	snprintf(out, sizeof(out), "%s/out", dir);
	withholding();
	ck_assert_msg(run_read(options, text) == 0, "%s", text);
	look(out);
	ck_assert_uint_eq(count, 3);
	ck_assert_uint_eq(seen[0].time_ns, 13 * SECOND);
}
END_TEST

/* A peer that delivered nothing for it then is not even looked at. */
START_TEST(whole_without_its_peer)
{
	char out[80], text[4096];
	const char *options[] = { "web2", "-w", out, "--from=@1700000020", NULL };

	snprintf(out, sizeof(out), "%s/out", dir);
	withholding();
	ck_assert_int_eq(unlink(below("file1")), 0);
	ck_assert_msg(run_read(options, text) == 0, "%s", text);
	ck_assert_ptr_null(strstr(text, "gone"));
	options[3] = "--from=@1700000011";
	ck_assert_msg(run_read(options, text) == 0, "%s", text);
	ck_assert_ptr_nonnull(strstr(text, "gone"));
}
END_TEST

START_TEST(as_captured)
{
	char out[80], text[4096];
	const char *options[] = { "web2", "-w", out, "--as-captured", NULL };

	snprintf(out, sizeof(out), "%s/out", dir);
	withholding();
	ck_assert_msg(run_read(options, text) == 0, "%s", text);
	look(out);
	ck_assert_uint_eq(count, 5);
}
END_TEST

static void
set_filter(unsigned vm, const char *filter)
{
	struct pcapng_interface interface = { .linktype = 1, .name = "eth0" };
	char hex[512] = "";
	struct buf idb;

	buf_init(&idb, 4096);
	snprintf(interface.filter, sizeof(interface.filter), "%s", filter);
	ck_assert_int_eq(pcapng_put_idb(&idb, &interface), 0);
	for (size_t i = 0; i < idb.len; i++)
		snprintf(hex + 2 * i, 3, "%02x", idb.data[i]);
	buf_clear(&idb);
	sql("UPDATE interface SET idb = x'%s' WHERE stream = x'%032u'", hex, vm);
}

/* The peer captured all; the VM would have had only what its own filter lets through. What cannot be asked of stored packets, and
 * what is no filter at all, keeps nobody from reading. */
static const struct filter_case {
	const char *filter;
	unsigned    expected;
} filters[] = {
	{ "(udp) and inbound", 5 },
	{ "(tcp) and inbound", 10 },
	{ "tcp or inbound", 10 },
	{ "(not udp) and inbound", 10 },
	{ "not inbound", 10 },		/* nobody is told to withhold by that */
	{ "(host localhost) and inbound", 10 },	/* nor by a name, which is not resolved */
	{ "(inbound and tcp) or udp", 10 },
	{ "nonsense and inbound", 10 },
};

START_TEST(whole_with_its_filter)
{
	char out[80], text[4096];
	const char *options[] = { "web2", "-w", out, NULL };

	snprintf(out, sizeof(out), "%s/out", dir);
	withholding();
	set_filter(2, filters[_i].filter);
	ck_assert_msg(run_read(options, text) == 0, "%s", text);
	look(out);
	ck_assert_uint_eq(count, filters[_i].expected);
}
END_TEST

/* The VM's clock was set forward in the time that is asked for: nothing that it showed then is left out. */
START_TEST(whole_over_a_step)
{
	char out[80], text[4096];
	const char *options[] = { "web2", "-w", out, "--from=@1700001500", "--to=@1700003605", NULL };

	snprintf(out, sizeof(out), "%s/out", dir);
	add_vm(1, "acme", "", 0);
	add_vm(2, "acme", "", 0);
	for (unsigned i = 0; i < 5; i++)
		add_packet(2, DEDUP_IN, i * SECOND, i * 100, i < 3 ? 0 : (int64_t)(3600 * SECOND));
	add_packet(1, DEDUP_OUT, 4 * SECOND + LAB_MS, 9000, 0);
	commit(1);
	commit(2);
	sql("INSERT INTO clock (vm, at_ns, offset_ns, rtt_ns) VALUES ('00000002-0000', 1, 0, 1), ('00000002-0000', %llu, %llu, 1)",
	    (unsigned long long)(LAB_START + 3603 * SECOND), (unsigned long long)(3600 * SECOND));
	sql("INSERT INTO withheld (vm, peer, address, own, network, balanced, from_ns) VALUES ('00000002-0000', '00000001-0000',"
	    " '10.0.0.1', '10.0.0.2', '', 0, 1)");
	ck_assert_msg(run_read(options, text) == 0, "%s", text);
	look(out);
	ck_assert_uint_eq(count, 3);
	ck_assert_uint_eq(seen[2].time_ns, 3604 * SECOND + LAB_MS);
}
END_TEST

/* Balanced, of flows with an odd hash the receiver's copies are what there is. */
START_TEST(whole_of_what_it_sent)
{
	char out[80], text[4096];
	const char *options[] = { "web1", "-w", out, NULL };
	bool odd;

	snprintf(out, sizeof(out), "%s/out", dir);
	add_vm(1, "acme", "", 0);
	add_vm(2, "acme", "", 0);
	add_packet(1, DEDUP_OUT, 0, 0, 0);
	add_packet(2, DEDUP_IN, LAB_US, 0, 0);
	add_packet(2, DEDUP_IN, SECOND, 100, 0);
	commit(1);
	commit(2);
	sql("INSERT INTO withheld (vm, peer, address, own, network, balanced, from_ns) VALUES ('00000001-0000', '00000002-0000',"
	    " '10.0.0.2', '10.0.0.1', '', 1, 1)");
	odd = hash_of_the_flow() % 2 == 1;
	ck_assert_msg(run_read(options, text) == 0, "%s", text);
	look(out);
	ck_assert_uint_eq(count, odd ? 2 : 1);
	ck_assert_str_eq(seen[0].comment, "");
	if (odd) {
		ck_assert_str_eq(seen[1].comment, "received by web2, departure not observed");
		ck_assert_uint_eq(seen[1].flags & 3, PCAPNG_EPB_OUT);
	}
}
END_TEST

START_TEST(holes_are_told)
{
	char out[80], text[4096];
	const char *options[] = { "web2", "-w", out, NULL };

	snprintf(out, sizeof(out), "%s/out", dir);
	withholding();
	sql("INSERT INTO loss (vm, stream, place, packets, bytes, first_ns, last_ns, recorded_ns, approximate) VALUES"
	    " ('00000002-0000', x'%032u', 'withheld', 7, 0, 1, 2, 3, 1)", 2);
	sql("INSERT INTO loss (vm, stream, place, packets, bytes, first_ns, last_ns, recorded_ns, approximate) VALUES"
	    " ('00000001-0000', x'%032u', 'spool', 9, 0, %llu, %llu, 3, 0)", 1, (unsigned long long)(LAB_START + 3 * SECOND),
	    (unsigned long long)(LAB_START + 4 * SECOND));
	sql("INSERT INTO loss (vm, stream, place, packets, bytes, first_ns, last_ns, recorded_ns, approximate) VALUES"
	    " ('00000001-0000', x'%032u', 'ring', 50, 0, %llu, NULL, 3, 0)", 1, (unsigned long long)(LAB_START + 20 * SECOND));
	ck_assert_msg(run_read(options, text) == 0, "%s", text);
	ck_assert_ptr_nonnull(strstr(text, "what its peers deliver for it lacks up to 7 packets"));
	ck_assert_ptr_nonnull(strstr(text, "web1 lacks 9 packets"));
}
END_TEST

static const struct usage {
	const char *options[5];
	int	    status;
	const char *text;
} usages[] = {
	{ { "--merged", "-w/dev/null" }, 2, "which --tenant?" },
	{ { "--tenant=acme", "-w/dev/null" }, 2, "--tenant is for --merged" },
	{ { "web1", "--follow", "-w/dev/null" }, 2, "--follow is for --merged" },
	{ { "-w/dev/null" }, 2, "which VM?" },
	{ { "--merged", "--tenant=acme", "--as-captured" }, 2, "--as-captured is for one VM" },
	{ { "--merged", "--tenant=acme", "--follow", "--to=now" }, 2, "there is no --to" },
	{ { "--merged", "--tenant=acme", "--dedup-window=0" }, 2, "dedup-window" },
	{ { "--merged", "--tenant=nobody", "-w/dev/null" }, 1, "no tenant is called \"nobody\", nor begins so\n" },
	{ { "--merged", "--tenant=", "-w/dev/null" }, 1, "no tenant is called \"\"" },
	{ { "--merged", "--tenant=a", "-w/dev/null" }, 1, "\"a\" is ambiguous, it could be acme, apple\n" },
	{ { "--merged", "--tenant=acme", "-w/dev/null", "tcp prot 80" }, 1, "syntax error" },
	{ { "--merged", "--tenant=acme", "-w/dev/full" }, 1, "No space left on device" },
};

START_TEST(usage)
{
	char text[4096];

	add_vm(1, "acme", "", 0);
	add_vm(2, "apple", "", 0);
	add_packet(1, DEDUP_OUT, 0, 0, 0);
	commit(1);
	ck_assert_int_eq(run_read(usages[_i].options, text), usages[_i].status);
	ck_assert_msg(strstr(text, usages[_i].text) != NULL, "%s", text);
}
END_TEST

/* --- following --- */

static struct pcapng_out *out_file;

static struct merge *
start_following(void)
{
	struct merge_settings settings = { .db = db, .store = dir, .tenant = "acme", .to_ns = UINT64_MAX, .window_ns = 2 * SECOND,
	    .memory_max = 1u << 24, .follow = true };
	char error[512] = "";
	struct merge *merge;

	out_file = pcapng_out_open(below("out"), NULL, "check", error, sizeof(error));
	ck_assert_msg(out_file != NULL, "%s", error);
	settings.out = out_file;
	merge = merge_new(&settings, error, sizeof(error));
	ck_assert_msg(merge != NULL, "%s", error);
	return merge;
}

static void
pass(struct merge *merge, uint64_t now, size_t expected)
{
	sqlite3 *other;

	/* A connection does not see its own changes. */
	ck_assert_int_eq(sqlite3_open(below("catalog.sqlite"), &other), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(other, "UPDATE vm SET seen_ns = coalesce(seen_ns, 0) + 1", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	ck_assert_msg(merge_pass(merge, LAB_START + now) == 1, "%s", merge_error(merge));
	ck_assert_int_eq(pcapng_out_flush(out_file), 0);
	look(below("out"));
	ck_assert_uint_eq(count, expected);
}

/* A VM that has nothing holds up no other; what comes later than window and delay goes out nevertheless; a new VM is taken in. */
START_TEST(follows)
{
	struct merge *merge;

	add_vm(1, "acme", "", 0);
	add_vm(2, "acme", "", 0);
	commit(1);
	commit(2);
	merge = start_following();
	add_packet(1, DEDUP_OUT, 0, 0, 0);
	add_packet(1, DEDUP_OUT, SECOND, 100, 0);
	commit(1);
	pass(merge, SECOND, 0);
	pass(merge, 3 * SECOND, 0);
	pass(merge, 3 * SECOND + 1, 1);
	add_vm(4, "acme", "", 0);
	add_packet(4, DEDUP_IN, SECOND, 100, 0);
	add_packet(2, DEDUP_IN, 0, 0, 0);
	commit(4);
	commit(2);
	pass(merge, 3 * SECOND + 2, 2);
	ck_assert_str_eq(seen[1].interface, "web2/eth0");
	pass(merge, 4 * SECOND + 1, 3);
	ck_assert_str_eq(seen[2].comment, "also seen by web4/eth0");
	ck_assert_uint_eq(merge_stats(merge)->late, 0);
	add_packet(2, DEDUP_IN, 0, 200, 0);
	commit(2);
	pass(merge, 4 * SECOND + 1, 4);
	ck_assert_uint_eq(merge_stats(merge)->late, 1);
	merge_free(merge);
	ck_assert_int_eq(pcapng_out_close(out_file), 0);
}
END_TEST

/* The verb itself: goes on until it is interrupted, and then what was held is written. */
START_TEST(interrupted)
{
	char text[4096] = "", out[80], *argv[] = { (char []){ "read" }, (char []){ "--store" }, dir, (char []){ "--merged" },
	    (char []){ "--tenant=acme" }, (char []){ "--follow" }, (char []){ "--from=@1" }, (char []){ "-w" }, out, NULL };
	int fds[2], status = 0;
	struct stat st = { 0 };
	pid_t pid;

	snprintf(out, sizeof(out), "%s/out", dir);
	three_tenants();
	ck_assert_int_eq(pipe(fds), 0);
	fflush(NULL);
	if ((pid = fork()) == 0) {
		dup2(fds[1], 2);
		exit(cmd_read(9, argv));
	}
	close(fds[1]);
	while (stat(out, &st) == -1 || st.st_size < 11 * 150)	/* those packets are old, and go out at once */
		ck_assert_int_eq(waitpid(pid, &status, WNOHANG), 0);
	ck_assert_int_eq(kill(pid, SIGINT), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_gt(read(fds[0], text, sizeof(text) - 1), 0);
	close(fds[0]);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s", text);
	ck_assert_ptr_nonnull(strstr(text, "packets in 21, duplicates removed 10, out 11, written 11;"));
	look(out);
	ck_assert_uint_eq(count, 11);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("merge");
	TCase *tc = tcase_create("merge");
	SRunner *runner = srunner_create(suite);
	int failed;

	log_init("check_merge", LOG_LEVEL_ERROR);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, merged);
	tcase_add_test(tc, from_and_to);
	tcase_add_test(tc, enough);
	tcase_add_test(tc, whole);
	tcase_add_test(tc, whole_within_a_time);
	tcase_add_test(tc, whole_without_its_peer);
	tcase_add_test(tc, as_captured);
	tcase_add_loop_test(tc, whole_with_its_filter, 0, sizeof(filters) / sizeof(filters[0]));
	tcase_add_test(tc, whole_over_a_step);
	tcase_add_test(tc, whole_of_what_it_sent);
	tcase_add_test(tc, holes_are_told);
	tcase_add_loop_test(tc, usage, 0, (int)(sizeof(usages) / sizeof(usages[0])));
	tcase_add_test(tc, follows);
	tcase_add_test(tc, interrupted);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
