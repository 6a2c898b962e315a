/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <linux/filter.h>
#include <pcap/pcap.h>

#include "proto/bpf.h"
#include "proto/bpf_check.h"

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))
#define SHORT		64	/* instructions whose cost is within every kernel's net.core.optmem_max */
#define MUTATIONS	2000
#define S(code, k)	BPF_STMT(code, k)
#define J(code, k, t, f) BPF_JUMP(BPF_JMP | (code), k, t, f)
#define YES		S(BPF_RET | BPF_K, 262144)
#define NO		S(BPF_RET | BPF_K, 0)
#define AD(what)	((uint32_t)(SKF_AD_OFF + (what)))

/* --- what is wrong, and what is said of it --- */

static const struct {
	const char	*error;		/* NULL: nothing is wrong */
	size_t		len;
	struct bpf_insn	insn[8];
} programs[] = {
	{ NULL, 0, { { 0 } } },
	{ NULL, 1, { YES } },
	{ NULL, 1, { NO } },
	{ NULL, 3, { J(BPF_JEQ, 0, 0, 1), YES, NO } },
	{ NULL, 3, { J(BPF_JA, 1, 0, 0), YES, NO } },
	{ NULL, 3, { J(BPF_JA, 1, 255, 255), YES, NO } },
	{ NULL, 4, { S(BPF_LD | BPF_IMM, 1), S(BPF_ST, 15), S(BPF_LD | BPF_MEM, 15), YES } },
	{ NULL, 2, { S(BPF_ALU | BPF_LSH | BPF_K, 31), YES } },
	{ NULL, 2, { S(BPF_ALU | BPF_DIV | BPF_X, 0), YES } },
	{ NULL, 2, { S(BPF_LD | BPF_H | BPF_ABS, AD(SKF_AD_PROTOCOL)), YES } },
	{ NULL, 2, { S(BPF_LD | BPF_W | BPF_ABS, AD(SKF_AD_VLAN_TPID)), YES } },
	{ NULL, 2, { S(BPF_LD | BPF_B | BPF_ABS, (uint32_t)SKF_NET_OFF), YES } },
	{ NULL, 2, { S(BPF_LD | BPF_B | BPF_ABS, (uint32_t)SKF_LL_OFF + 12), YES } },
	{ "instruction 0: the last one does not return", 1, { S(BPF_LD | BPF_IMM, 1) } },
	{ "instruction 1: the last one does not return", 2, { YES, J(BPF_JA, 0, 0, 0) } },
	{ "instruction 0: returns what is not a constant", 1, { S(BPF_RET | BPF_A, 0) } },
	{ "instruction 1: returns what is not a constant", 3, { J(BPF_JA, 1, 0, 0), S(BPF_RET | BPF_A, 0), YES } },
	{ "instruction 0: is none that the kernel takes", 2, { S(0xffff, 0), YES } },
	{ "instruction 0: is none that the kernel takes", 1, { S(BPF_RET | BPF_X, 0) } },
	{ "instruction 0: is none that the kernel takes", 2, { S(0x100 | BPF_LD | BPF_IMM, 0), YES } },
	{ "instruction 0: is none that the kernel takes", 2, { S(BPF_ALU | BPF_NEG | BPF_X, 0), YES } },
	{ "instruction 0: is none that the kernel takes", 2, { S(BPF_ALU | 0xc0, 0), YES } },
	{ "instruction 0: is none that the kernel takes", 2, { S(BPF_LD | BPF_B | BPF_MSH, 0), YES } },
	{ "instruction 0: is none that the kernel takes", 2, { S(BPF_LDX | BPF_W | BPF_ABS, 0), YES } },
	{ "instruction 0: is none that the kernel takes", 2, { S(BPF_LD | BPF_H | BPF_LEN, 0), YES } },
	{ "instruction 0: is none that the kernel takes", 2, { S(BPF_MISC | 0x40, 0), YES } },
	{ "instruction 0: is none that the kernel takes", 2, { J(0x50, 0, 0, 0), YES } },
	{ "instruction 0: is none that the kernel takes", 2, { J(BPF_JA | BPF_X, 0, 0, 0), YES } },
	{ "instruction 0: jumps behind the end", 2, { J(BPF_JA, 1, 0, 0), YES } },
	{ "instruction 0: jumps behind the end", 2, { J(BPF_JA, 0xffffffff, 0, 0), YES } },
	{ "instruction 0: jumps behind the end", 2, { J(BPF_JA, 0xfffffffe, 0, 0), YES } },
	{ "instruction 1: jumps behind the end", 3, { YES, J(BPF_JEQ, 0, 1, 0), YES } },
	{ "instruction 1: jumps behind the end", 3, { YES, J(BPF_JSET | BPF_X, 0, 0, 1), YES } },
	{ "instruction 0: jumps behind the end", 2, { J(BPF_JGT, 0, 255, 0), YES } },
	{ "instruction 0: divides by 0", 2, { S(BPF_ALU | BPF_DIV | BPF_K, 0), YES } },
	{ "instruction 0: divides by 0", 2, { S(BPF_ALU | BPF_MOD | BPF_K, 0), YES } },
	{ "instruction 0: shifts by more than 31 bits", 2, { S(BPF_ALU | BPF_LSH | BPF_K, 32), YES } },
	{ "instruction 0: shifts by more than 31 bits", 2, { S(BPF_ALU | BPF_RSH | BPF_K, 0x80000000), YES } },
	{ "instruction 0: there is no such word of scratch memory", 2, { S(BPF_ST, 16), YES } },
	{ "instruction 0: there is no such word of scratch memory", 2, { S(BPF_STX, 0xffffffff), YES } },
	{ "instruction 0: there is no such word of scratch memory", 2, { S(BPF_LD | BPF_MEM, 16), YES } },
	{ "instruction 0: there is no such word of scratch memory", 2, { S(BPF_LDX | BPF_MEM, 1u << 31), YES } },
	{ "instruction 0: reads scratch memory that may not have been written", 2, { S(BPF_LD | BPF_MEM, 0), YES } },
	{ "instruction 1: reads scratch memory that may not have been written", 3, { S(BPF_ST, 1), S(BPF_LDX | BPF_MEM, 0), YES } },
	{ "instruction 2: reads scratch memory that may not have been written", 4,
	    { J(BPF_JEQ, 0, 1, 0), S(BPF_ST, 3), S(BPF_LD | BPF_MEM, 3), YES } },
	{ "instruction 3: reads scratch memory that may not have been written", 5,
	    { J(BPF_JGE, 7, 1, 0), J(BPF_JA, 1, 0, 0), S(BPF_ST, 3), S(BPF_LD | BPF_MEM, 3), YES } },
	{ "instruction 0: loads what the kernel has not", 2, { S(BPF_LD | BPF_W | BPF_ABS, AD(1)), YES } },
	{ "instruction 0: loads what the kernel has not", 2, { S(BPF_LD | BPF_W | BPF_ABS, AD(SKF_AD_MAX)), YES } },
	{ "instruction 0: loads what the kernel has not", 2, { S(BPF_LD | BPF_H | BPF_ABS, 0xffffffff), YES } },
};

/* 1: the kernel takes it; 0: it is not valid; -1: too long for this socket. */
static int
kernel_takes(const struct bpf_insn *insn, size_t len)
{
	struct sock_fprog program = { .len = (unsigned short)len, .filter = (struct sock_filter *)insn };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0), result;

	ck_assert_int_ne(fd, -1);
	result = setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0;
	if (result == 0 && errno != EINVAL) {
		ck_assert_int_eq(errno, ENOMEM);
		ck_assert_uint_gt(len, SHORT);
		result = -1;
	}
	close(fd);
	return result;
}

START_TEST(hand_made)
{
	const struct bpf_insn *insn = programs[_i].insn;
	const char *want = programs[_i].error;
	char error[BPF_CHECK_ERROR_SIZE] = "";
	size_t len = programs[_i].len;

	ck_assert_int_eq(bpf_check(insn, len, error), want == NULL ? 0 : -1);
	ck_assert_str_eq(error, want == NULL ? "" : want);
	if (len > 0 && insn[len - 1].code != (BPF_RET | BPF_A) && insn[1].code != (BPF_RET | BPF_A))
		ck_assert_int_eq(kernel_takes(insn, len), want == NULL);
}
END_TEST

START_TEST(tails)
{
	static const struct bpf_insn ret_a[] = { S(BPF_LD | BPF_W | BPF_LEN, 0), S(BPF_RET | BPF_A, 0) };
	char error[BPF_CHECK_ERROR_SIZE];

	ck_assert_int_eq(bpf_check(ret_a, 2, error), -1);
	ck_assert_int_eq(bpf_check_tail(ret_a, 2, error), 0);
	ck_assert_int_eq(bpf_check_tail(ret_a, 1, error), -1);
	ck_assert_str_eq(error, "instruction 0: the last one does not return");
}
END_TEST

START_TEST(too_long)
{
	static struct bpf_insn insn[BPF_CHAIN_MAX + 1];
	char error[BPF_CHECK_ERROR_SIZE];

	for (size_t i = 0; i < COUNT(insn); i++)
		insn[i] = (struct bpf_insn)NO;
	ck_assert_int_eq(bpf_check(insn, BPF_CHAIN_MAX, error), 0);
	ck_assert_int_eq(bpf_check(insn, BPF_CHAIN_MAX + 1, error), -1);
	ck_assert_str_eq(error, "4097 instructions; the kernel takes 4096");
}
END_TEST

/* --- what libpcap makes --- */

static const char *const expressions[] = {
	"", "ip", "ip6", "arp", "rarp", "tcp", "udp port 53", "tcp port 80 or tcp port 443", "portrange 1-1023", "not tcp portrange 40000-50000",
	"net 10.0.0.0/8", "src net 192.168.0.0/16 and tcp", "host 2001:db8::1", "dst host 192.0.2.1 and not src port 22", "icmp or icmp6",
	"icmp[icmptype] = icmp-echo", "icmp6[0] = 128", "less 100", "greater 600", "len % 3 = 1", "ip proto 47",
	"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "ip[6:2] & 0x3fff != 0", "(ip[2:2] - ((ip[0] & 0xf) << 2)) > 60",
	"udp[4:2] / udp[6:2] >= 0", "udp[4:2] % 7 = 3 or tcp[2:2] ^ tcp[0:2] = 1", "ether host 02:00:00:00:00:01", "ether multicast",
	"ip broadcast or ip multicast", "ether proto 0x88cc", "vlan", "vlan 100 and tcp", "vlan and vlan and ip", "pppoes and ip",
	"mpls 7 and mpls", "geneve 5 and udp", "vxlan 9 and tcp port 80", "inbound", "outbound and ip", "ifindex 3", "sctp port 3868", "vrrp or carp",
	"host 10.0.0.1 and (port 1 or port 2 or port 3 or port 4 or port 5) and not (host 10.0.0.2 or host 10.0.0.3 or host 10.0.0.4)",
	"ether[0] & 1 = 0 and ip[16] >= 224", "(tcp[0:2] << 3 | ip[8]) & 0x7ff > 99 and udp[((udp[4:2] - 8) * 2) & 15] = 0",
};
static const int linktypes[] = { DLT_EN10MB, DLT_LINUX_SLL, DLT_LINUX_SLL2, DLT_RAW, DLT_NULL };

static size_t compiled;

static void
check_compiled(const struct bpf_program *p, const char *expression)
{
	char error[BPF_CHECK_ERROR_SIZE] = "";
	struct bpf_chain chain;

	ck_assert_msg(bpf_check(p->bf_insns, p->bf_len, error) == 0, "\"%s\": %s", expression, error);
	ck_assert_msg(kernel_takes(p->bf_insns, p->bf_len) != 0, "the kernel refuses \"%s\"", expression);
	bpf_chain_init(&chain);
	ck_assert_int_eq(bpf_chain_add(&chain, "part", p->bf_insns, p->bf_len, false), BPF_OK);
	bpf_chain_clear(&chain);
	compiled++;
}

static bool
compile(pcap_t *handle, struct bpf_program *p, const char *expression, int optimize)
{
	return pcap_compile(handle, p, expression, optimize, PCAP_NETMASK_UNKNOWN) == 0;
}

/* Optimized or not; some expressions are not of every link type, or not of this libpcap. */
START_TEST(compiled_by_libpcap)
{
	pcap_t *handle = pcap_open_dead(linktypes[_i], 262144);
	struct bpf_program p;

	compiled = 0;
	ck_assert_ptr_nonnull(handle);
	for (size_t i = 0; i < COUNT(expressions); i++)
		for (int optimize = 0; optimize < 2; optimize++)
			if (compile(handle, &p, expressions[i], optimize)) {
				check_compiled(&p, expressions[i]);
				pcap_freecode(&p);
			}
	pcap_close(handle);
	ck_assert_uint_gt(compiled, COUNT(expressions));
}
END_TEST

/* A loop: libpcap runs it itself, no kernel does. */
START_TEST(loops)
{
	pcap_t *handle = pcap_open_dead(DLT_EN10MB, 262144);
	char error[BPF_CHECK_ERROR_SIZE];
	struct bpf_program p;

	ck_assert_ptr_nonnull(handle);
	ck_assert(compile(handle, &p, "ip protochain 6", 1));
	ck_assert_int_eq(bpf_check(p.bf_insns, p.bf_len, error), -1);
	ck_assert_ptr_nonnull(strstr(error, ": jumps behind the end"));
	ck_assert_int_eq(kernel_takes(p.bf_insns, p.bf_len), 0);
	pcap_freecode(&p);
	pcap_close(handle);
}
END_TEST

/* --- the kernel's opinion of what is nearly right --- */

static void
mutate(struct bpf_insn *insn, size_t len)
{
	static const uint16_t codes[] = { BPF_LD | BPF_MEM, BPF_LDX | BPF_MEM, BPF_ST, BPF_STX, BPF_LD | BPF_W | BPF_ABS, BPF_RET | BPF_K,
		BPF_JMP | BPF_JA, BPF_ALU | BPF_MOD | BPF_K, BPF_ALU | BPF_RSH | BPF_K };
	struct bpf_insn *at = &insn[(size_t)random() % len];

	switch (random() % 6) {
	case 0:
		at->code = (uint16_t)(random() & 0xff);
		break;
	case 1:
		at->code = codes[(size_t)random() % COUNT(codes)];
		at->k = (uint32_t)random() % 24;
		break;
	case 2:
		at->jt = (uint8_t)(random() % (long)(len + 1));
		break;
	case 3:
		at->jf = (uint8_t)(random() % (long)(len + 1));
		break;
	case 4:
		at->k = (uint32_t)random() % 40;
		break;
	case 5:
		at->k = AD(random() % 80 - 4);
		break;
	}
}

static bool
returns_accumulator(const struct bpf_insn *insn, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (insn[i].code == (BPF_RET | BPF_A))
			return true;
	return false;
}

static size_t taken, refused;

static void
check_mutants(const struct bpf_program *p)
{
	struct bpf_insn insn[SHORT];
	char error[BPF_CHECK_ERROR_SIZE];

	for (unsigned i = 0; i < MUTATIONS; i++) {
		memcpy(insn, p->bf_insns, p->bf_len * sizeof(insn[0]));
		for (unsigned changes = 1 + (unsigned)random() % 3; changes > 0; changes--)
			mutate(insn, p->bf_len);
		if (bpf_check(insn, p->bf_len, error) == 0) {
			ck_assert_int_eq(kernel_takes(insn, p->bf_len), 1);
			taken++;
		} else if (!returns_accumulator(insn, p->bf_len)) {
			ck_assert_msg(kernel_takes(insn, p->bf_len) == 0, "the kernel takes it: %s", error);
			refused++;
		}
	}
}

START_TEST(mutants)
{
	static const char *const from[] = { "tcp port 80", "(ip[2:2] - ((ip[0] & 0xf) << 2)) > 60", "vlan 7 and udp", "len % 3 = 1" };
	pcap_t *handle = pcap_open_dead(DLT_EN10MB, 262144);
	struct bpf_program p;

	srandom(1);
	taken = refused = 0;
	ck_assert_ptr_nonnull(handle);
	for (size_t i = 0; i < COUNT(from); i++) {
		ck_assert(compile(handle, &p, from[i], 1));
		ck_assert_uint_le(p.bf_len, SHORT);
		check_mutants(&p);
		pcap_freecode(&p);
	}
	pcap_close(handle);
	printf("check_bpf_check: of %u mutants the kernel took the %zu that were accepted and none of %zu others\n",
	    (unsigned)COUNT(from) * MUTATIONS, taken, refused);
	ck_assert(taken > 100 && refused > 100);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("bpf check");
	TCase *made = tcase_create("hand-made"), *others = tcase_create("libpcap's");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(made, hand_made, 0, (int)COUNT(programs));
	tcase_add_test(made, tails);
	tcase_add_test(made, too_long);
	suite_add_tcase(suite, made);
	tcase_set_timeout(others, 60);
	tcase_add_loop_test(others, compiled_by_libpcap, 0, (int)COUNT(linktypes));
	tcase_add_test(others, loops);
	tcase_add_test(others, mutants);
	suite_add_tcase(suite, others);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
