/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <sys/socket.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>
#include <event2/event.h>

#include "agent/link_session.h"
#include "agent/spool.h"
#include "common/clock.h"
#include "common/deadline.h"
#include "proto/codec.h"
#include "proto/pcapng.h"
#include "tests/link_lab.h"

/* A collector's hints and an agent's addresses in real sessions of the link role; the test is collector, operator and capture role. */

#define SPOOL_SIZE	(64 * 1024)
#define LEASE_MS	60000
#define SAID_MAX	64

struct far {
	struct script_peer script;
	size_t		 result_count, policy_count, addresses_count, interface_count;
	struct msg_hints_result result[SAID_MAX];
	struct msg_policy_result policy[SAID_MAX];
	struct msg_addresses addresses[SAID_MAX];
	uint16_t	 error;
};

static struct link_lab lab;
static struct far collector, again, operator;
static struct ipc_tap *tap;	/* of tap 0, told last */
static unsigned taps;		/* told so far */
static unsigned leases;
static uint64_t lease_ns;

/* --- the capture role --- */

static void
take_capture(const uint8_t *data, size_t len)
{
	struct ipc_message message = { .type = (enum ipc_type)data[3], .payload = data + 4, .length = len - 4, .fd = { -1, -1, -1 } };
	struct ipc_lease lease;

	if (message.type == IPC_LEASE) {
		ck_assert_int_eq(ipc_get_lease(&message, &lease), 0);
		ck_assert_uint_eq(lease.tap, 0);
		lease_ns = lease.peers_until_ns;
		leases++;
		return;
	}
	ck_assert_int_eq(message.type, IPC_TAP);
	ck_assert_uint_lt(message.payload[0], IPC_TAPS_MAX);
	if (message.payload[0] != 0)
		return;
	ck_assert_int_eq(ipc_get_tap(&message, tap), 0);
	taps++;
}

static void
run(void)
{
	static uint8_t bytes[IPC_SIZE_MAX];
	ssize_t n;

	script_loop(lab.link.base, 8);
	while ((n = recv(lab.capture[1], bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		take_capture(bytes, (size_t)n);
}

static void
answer(bool accepted)
{
	struct ipc_tap_result result = { .accepted = accepted, .version = tap->version, .reason = "no" };

	tap_result(&lab.link, &result);
	run();
}

/* --- the far ends --- */

static void
take_frame(struct script_peer *script, const struct frame *frame)
{
	struct far *far = script->more;
	struct msg_end end;

	ck_assert_uint_lt(far->result_count + far->policy_count + far->addresses_count, SAID_MAX);
	switch (frame->type) {
	case FRAME_HINTS_RESULT:
		ck_assert_int_eq(msg_get_hints_result(frame, &far->result[far->result_count++]), 0);
		break;
	case FRAME_POLICY_RESULT:
		ck_assert_int_eq(msg_get_policy_result(frame, &far->policy[far->policy_count++]), 0);
		break;
	case FRAME_ADDRESSES:
		ck_assert_int_eq(msg_get_addresses(frame, &far->addresses[far->addresses_count++]), 0);
		ck_assert_uint_lt(far->addresses[far->addresses_count - 1].id, far->interface_count);
		break;
	case FRAME_INTERFACE:
		far->interface_count++;
		break;
	case FRAME_ERROR:
		ck_assert_int_eq(msg_get_error(frame, &end), 0);
		far->error = end.code;
		break;
	default:
		break;
	}
}

static void
far_open(struct far *far, enum identity_role role, const char *name)
{
	struct msg_welcome welcome = { .version = FRAME_VERSION, .codecs = codec_mask(), .keepalive_ms = 10000 };
	int fd;

	memset(far, 0, sizeof(*far));
	far->script.more = far;
	far->script.frame = take_frame;
	buf_init(&far->script.out, 1024 * 1024);
	fd = script_peer_open(&far->script, lab.link.base, script_context(role, role == ROLE_OPERATOR ? "acme" : "", name), TLSIO_CLIENT);
	ck_assert_ptr_nonnull(session_new(&lab.link, fd, TLSIO_SERVER, NULL));
	for (unsigned i = 0; i < 50 && !far->script.opened; i++)
		run();
	ck_assert(far->script.opened);
	ck_assert_int_eq(msg_put_welcome(&far->script.out, &welcome), 0);
	script_peer_send(&far->script, 0);
	run();
}

static void
far_close(struct far *far)
{
	script_peer_close(&far->script);
	run();
}

static void
say_hints(struct far *far, struct msg_hints *hints)
{
	hints->lease_ms = hints->lease_ms != 0 ? hints->lease_ms : LEASE_MS;
	ck_assert_int_eq(msg_put_hints(&far->script.out, hints), 0);
	script_peer_send(&far->script, 0);
	run();
}

static struct bpf_peer
peer_of(uint8_t last)
{
	return (struct bpf_peer){ .family = AF_INET, .address = { 192, 0, 2, last } };
}

/* A change of one peer; 0: none. */
static void
hint(struct far *far, uint64_t base, uint64_t generation, uint8_t gone, uint8_t added)
{
	struct msg_hints hints = { .generation = generation, .base = base, .gone_count = gone != 0, .added_count = added != 0 };

	hints.gone[0] = peer_of(gone);
	hints.added[0] = peer_of(added);
	say_hints(far, &hints);
}

static void
say_policy(struct far *far, uint64_t version, const char *filter)
{
	struct msg_policy policy = { .version = version };

	strcpy(policy.filter, filter);
	ck_assert_int_eq(msg_put_policy(&far->script.out, &policy), 0);
	script_peer_send(&far->script, 0);
	run();
}

static void
expect_results(size_t count, uint64_t generation)
{
	uint64_t now_ns = clock_wall_ns();

	ck_assert_uint_eq(collector.result_count, count);
	ck_assert_uint_eq(collector.result[count - 1].generation, generation);
	ck_assert_uint_le(collector.result[count - 1].wall_ns, now_ns);
	ck_assert_uint_gt(collector.result[count - 1].wall_ns, now_ns - 10000 * LINK_MS);
}

static void
expect_peers(const char *last)
{
	ck_assert_uint_eq(tap->peer_count, strlen(last));
	for (size_t i = 0; i < strlen(last); i++) {
		struct bpf_peer peer = peer_of((uint8_t)(last[i] - '0'));

		ck_assert_mem_eq(&tap->peer[i], &peer, sizeof(peer));
	}
}

static void
setup(void)
{
	memset(&lab, 0, sizeof(lab));
	taps = leases = 0;
	ck_assert_ptr_nonnull(tap = calloc(1, sizeof(*tap)));
	link_lab_open(&lab, SPOOL_SIZE);
	far_open(&collector, ROLE_COLLECTOR, "col");
	ck_assert_uint_eq(taps, 1);
	expect_peers("");
	answer(true);
}

static void
teardown(void)
{
	struct session *s;

	while ((s = TAILQ_FIRST(&lab.link.sessions)) != NULL)
		session_free(s);
	script_peer_close(&collector.script);
	script_peer_close(&again.script);
	script_peer_close(&operator.script);
	link_lab_close(&lab);
	free(tap);
}

/* --- the list --- */

static const struct step {
	uint64_t	base, generation;
	const char	*gone, *added;
	uint8_t		flags;
	enum hints_verdict verdict;
	const char	*list;		/* after it */
} steps[] = {
	{ 7, 8, "", "1", 0, HINTS_MISFIT, "" },
	{ 0, 0, "", "", 0, HINTS_RENEWED, "" },
	{ 0, 1, "", "1231", 0, HINTS_CHANGED, "123" },
	{ 1, 1, "", "", 0, HINTS_RENEWED, "123" },
	{ 2, 3, "1", "", 0, HINTS_MISFIT, "123" },
	{ 1, 2, "29", "4", 0, HINTS_CHANGED, "134" },
	{ 2, 3, "1", "1", 0, HINTS_CHANGED, "341" },
	{ 3, 3, "", "", HINTS_BALANCED, HINTS_CHANGED, "341" },
	{ 3, 3, "", "", HINTS_BALANCED, HINTS_RENEWED, "341" },
	{ 3, 4, "", "", HINTS_BALANCED, HINTS_CHANGED, "341" },
	{ 0, 4, "", "56", 0, HINTS_CHANGED, "56" },
	{ 0, 4, "", "56", 0, HINTS_CHANGED, "56" },
	{ 4, 0, "5", "", 0, HINTS_CHANGED, "" },
	{ 0, 0, "", "", HINTS_BALANCED, HINTS_RENEWED, "" },
	{ 4, 5, "", "7", 0, HINTS_MISFIT, "" },
};

static uint16_t
peers_of(const char *last, struct bpf_peer *list)
{
	for (size_t i = 0; last[i] != '\0'; i++)
		list[i] = peer_of((uint8_t)(last[i] - '0'));
	return (uint16_t)strlen(last);
}

START_TEST(list_changes)
{
	struct hints h = { 0 };
	struct bpf_peer want[16];
	struct msg_hints msg;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		const struct step *step = &steps[i];

		memset(&msg, 0, sizeof(msg));
		msg.base = step->base;
		msg.generation = step->generation;
		msg.flags = step->flags;
		msg.gone_count = peers_of(step->gone, msg.gone);
		msg.added_count = peers_of(step->added, msg.added);
		ck_assert_msg(hints_change(&h, &msg) == step->verdict, "step %zu", i);
		ck_assert_msg(h.count == peers_of(step->list, want) && memcmp(h.peer, want, h.count * sizeof(want[0])) == 0, "step %zu", i);
		if (step->verdict != HINTS_MISFIT) {
			ck_assert_uint_eq(h.generation, step->generation);
			ck_assert_int_eq(h.balanced, step->generation != 0 && step->flags == HINTS_BALANCED);
		}
	}
}
END_TEST

/* Of more than fit, the last ones are passed over, until there is room. */
START_TEST(list_is_full)
{
	static struct hints h;
	static struct msg_hints msg;

	msg = (struct msg_hints){ .generation = 1, .added_count = MSG_PEERS_MAX };
	for (unsigned i = 0; i < MSG_PEERS_MAX; i++)
		msg.added[i] = (struct bpf_peer){ .family = AF_INET, .address = { 10, (uint8_t)(i >> 8), (uint8_t)i } };
	ck_assert_int_eq(hints_change(&h, &msg), HINTS_CHANGED);
	ck_assert_uint_eq(h.count, MSG_PEERS_MAX);
	msg = (struct msg_hints){ .base = 1, .generation = 2, .added_count = 1, .added = { peer_of(1) } };
	ck_assert_int_eq(hints_change(&h, &msg), HINTS_CHANGED);
	ck_assert_uint_eq(h.count, MSG_PEERS_MAX);
	msg.base = 2;
	msg.gone_count = 1;
	msg.gone[0] = h.peer[0];
	ck_assert_int_eq(hints_change(&h, &msg), HINTS_CHANGED);
	ck_assert_uint_eq(h.count, MSG_PEERS_MAX);
	ck_assert_mem_eq(&h.peer[MSG_PEERS_MAX - 1], &msg.added[0], sizeof(h.peer[0]));
}
END_TEST

/* --- in sessions --- */

START_TEST(in_force_when_answered)
{
	uint64_t now_ns = clock_boot_ns();

	hint(&collector, 0, 1, 0, 1);
	ck_assert_uint_eq(taps, 2);
	expect_peers("1");
	ck_assert_uint_ge(tap->peers_until_ns, now_ns + LEASE_MS * LINK_MS);
	ck_assert_uint_le(tap->peers_until_ns, clock_boot_ns() + LEASE_MS * LINK_MS);
	ck_assert_uint_eq(collector.result_count, 0);
	answer(true);
	expect_results(1, 1);
	/* A renewal is a small message, and not answered. */
	now_ns = tap->peers_until_ns;
	hint(&collector, 1, 1, 0, 0);
	ck_assert_uint_eq(taps, 2);
	ck_assert_uint_eq(leases, 1);
	ck_assert_uint_gt(lease_ns, now_ns);
	expect_results(1, 1);
	/* What does not fit is answered at once, and renews nothing. */
	hint(&collector, 7, 8, 0, 2);
	ck_assert_uint_eq(taps, 2);
	ck_assert_uint_eq(leases, 1);
	expect_results(2, 1);
	hint(&collector, 1, 0, 0, 0);
	expect_peers("");
	ck_assert_uint_eq(tap->peers_until_ns, 0);
	answer(true);
	expect_results(3, 0);
	/* No other tap has peers, and what was told is not told again. */
	ck_assert_uint_eq(taps, 3);
	tap_update_all(&lab.link);
	run();
	ck_assert_uint_eq(taps, 3);
}
END_TEST

START_TEST(only_the_newest_is_applied)
{
	struct msg_hints shorter = { .lease_ms = LEASE_MS / 2 };

	hint(&collector, 0, 1, 0, 1);
	hint(&collector, 1, 2, 0, 2);
	hint(&collector, 2, 3, 1, 3);
	hint(&collector, 3, 3, 0, 0);
	ck_assert_uint_eq(taps, 2);
	expect_peers("1");
	ck_assert_uint_eq(leases, 0);	/* of a list that is none any more */
	answer(true);
	expect_results(1, 1);
	ck_assert_uint_eq(taps, 3);
	expect_peers("23");
	ck_assert_uint_eq(tap->peers_until_ns, lab.link.hints.until_ns);
	answer(true);
	expect_results(2, 3);
	/* What is told may have begun with the list that is wanted by now. */
	hint(&collector, 3, 4, 0, 4);
	hint(&collector, 4, 5, 4, 0);
	expect_peers("234");
	ck_assert_uint_eq(leases, 0);
	shorter.base = shorter.generation = 5;
	say_hints(&collector, &shorter);
	ck_assert_uint_eq(leases, 1);
	ck_assert_uint_lt(lease_ns, tap->peers_until_ns);
	answer(true);
	expect_peers("23");
	answer(true);
	expect_results(4, 5);
}
END_TEST

START_TEST(lease_ends)
{
	struct msg_hints hints = { .generation = 1, .lease_ms = HINTS_LEASE_MIN_MS, .added_count = 1, .added = { peer_of(1) } };

	say_hints(&collector, &hints);
	answer(true);
	expect_results(1, 1);
	while (taps < 3)
		event_base_loop(lab.link.base, EVLOOP_ONCE), run();
	ck_assert_uint_ge(clock_boot_ns(), lab.link.hints.until_ns);
	expect_peers("");
	expect_results(1, 1);
	answer(true);
	expect_results(2, 0);
	hint(&collector, 1, 2, 0, 2);
	expect_results(3, 0);
	hint(&collector, 0, 3, 0, 2);
	answer(true);
	expect_results(4, 3);
}
END_TEST

/* A renewal that is read too late is none. */
START_TEST(lease_has_ended)
{
	hint(&collector, 0, 1, 0, 1);
	answer(true);
	lab.link.hints.until_ns = 1;
	hint(&collector, 1, 1, 0, 0);
	expect_peers("");
	ck_assert_uint_eq(leases, 0);
	answer(true);
	ck_assert_uint_eq(lab.link.hints.generation, 0);
	ck_assert_uint_eq(collector.result[collector.result_count - 1].generation, 0);
}
END_TEST

START_TEST(policy_is_left_alone)
{
	/* One under way; it is refused. */
	say_policy(&collector, 5, "tcp prot 80");
	ck_assert_uint_eq(taps, 2);
	hint(&collector, 0, 1, 0, 1);
	ck_assert_uint_eq(taps, 2);
	answer(false);
	ck_assert_uint_eq(collector.policy_count, 1);
	ck_assert(!collector.policy[0].accepted && collector.policy[0].version == 5);
	ck_assert_uint_eq(collector.result_count, 0);
	ck_assert_str_eq(tap->filter, "");
	expect_peers("1");
	answer(true);
	ck_assert_uint_eq(collector.policy_count, 1);
	expect_results(1, 1);
	/* Both at once, refused: the hints are told again. */
	hint(&collector, 1, 2, 0, 2);
	say_policy(&collector, 6, "tcp prot 80");
	hint(&collector, 2, 3, 0, 3);
	answer(true);
	expect_results(2, 2);
	ck_assert_str_eq(tap->filter, "tcp prot 80");
	expect_peers("123");
	answer(false);
	ck_assert_uint_eq(collector.policy_count, 2);
	expect_results(2, 2);
	expect_peers("123");
	ck_assert_str_eq(tap->filter, "");
	answer(true);
	expect_results(3, 3);
	/* A policy keeps the peers, and answers no hints. */
	say_policy(&collector, 7, "tcp");
	ck_assert_str_eq(tap->filter, "tcp");
	expect_peers("123");
	answer(true);
	ck_assert_uint_eq(collector.policy_count, 3);
	ck_assert(collector.policy[2].accepted);
	ck_assert_uint_eq(collector.result_count, 3);
}
END_TEST

/* What the kernel does not take is not asked for again. */
START_TEST(refused_list_is_dropped)
{
	unsigned before;

	hint(&collector, 0, 1, 0, 1);
	answer(true);
	hint(&collector, 1, 2, 0, 2);
	answer(false);
	expect_peers("");
	expect_results(1, 1);
	answer(true);
	expect_results(2, 0);
	before = taps;
	tap_update_all(&lab.link);
	run();
	ck_assert_uint_eq(taps, before);
}
END_TEST

START_TEST(list_outlives_its_session)
{
	hint(&collector, 0, 1, 0, 1);
	answer(true);
	hint(&collector, 1, 2, 0, 2);	/* its answer comes too late for this session */
	far_close(&collector);
	far_open(&again, ROLE_COLLECTOR, "col");
	answer(true);
	expect_peers("12");
	ck_assert_uint_eq(again.result_count, 0);
	hint(&again, 2, 2, 0, 0);
	hint(&again, 2, 3, 0, 3);
	ck_assert_uint_eq(again.result_count, 2);
	ck_assert_uint_eq(again.result[1].generation, 2);
	ck_assert_uint_eq(leases, 0);
	expect_peers("12");
	/* The same list, as another generation: nothing is to be told to capture but the lease. */
	taps = 0;
	hint(&again, 0, 9, 0, 1);
	expect_peers("1");
	answer(true);
	ck_assert_uint_eq(again.result[2].generation, 9);
	hint(&again, 0, 10, 0, 1);
	ck_assert_uint_eq(taps, 1);
	ck_assert_uint_eq(leases, 1);
	ck_assert_uint_eq(again.result_count, 4);
	ck_assert_uint_eq(again.result[3].generation, 10);
}
END_TEST

START_TEST(capture_starts_again)
{
	hint(&collector, 0, 1, 0, 1);
	answer(true);
	tap_capture_is_new(&lab.link);
	run();
	ck_assert_uint_eq(taps, 3);
	expect_peers("1");
	ck_assert_uint_eq(tap->peers_until_ns, lab.link.hints.until_ns);
	answer(true);
	ck_assert_uint_eq(collector.result_count, 1);
}
END_TEST

/* What the guest does not want left out is captured, from the moment that it says so; the collector's list goes on. */
START_TEST(guest_refuses)
{
	lab.link.options.no_withhold = true;
	hint(&collector, 0, 1, 0, 1);
	expect_peers("");
	expect_results(1, 1);
	ck_assert_uint_eq(taps, 1);
	hint(&collector, 1, 1, 0, 0);
	ck_assert_uint_eq(leases, 0);
	lab.link.options.no_withhold = false;
	tap_update_all(&lab.link);
	run();
	expect_peers("1");
	ck_assert_uint_eq(tap->peers_until_ns, lab.link.hints.until_ns);
	answer(true);
	lab.link.options.no_withhold = true;
	tap_update_all(&lab.link);
	run();
	expect_peers("");
	answer(true);
	ck_assert_uint_eq(collector.result_count, 1);
}
END_TEST

START_TEST(operators_give_none)
{
	far_open(&operator, ROLE_OPERATOR, "oper");
	hint(&operator, 0, 1, 0, 1);
	ck_assert_uint_eq(operator.error, MSG_ERR_ROLE);
	ck_assert_uint_eq(lab.link.hints.generation, 0);
	ck_assert_uint_eq(taps, 1);
}
END_TEST

/* --- addresses --- */

static struct netif *netif;

static void
netif_set(uint8_t count, uint64_t number)
{
	netif->address_count = count;
	for (uint8_t i = 0; i < count; i++)
		netif->address[i] = peer_of((uint8_t)(i + 1));
	netif->addresses = number;
	tap_update_all(&lab.link);
	session_addresses_all(&lab.link);
	run();
}

static void
expect_addresses(size_t told, uint32_t id, uint16_t count)
{
	const struct msg_addresses *msg = &collector.addresses[told - 1];

	ck_assert_uint_eq(collector.addresses_count, told);
	ck_assert_uint_eq(msg->id, id);
	ck_assert_uint_eq(msg->stream[0], 9);
	ck_assert_uint_eq(msg->count, count);
	ck_assert_mem_eq(msg->address, netif->address, count * sizeof(msg->address[0]));
}

static void
add_interface(const char *filter)
{
	struct pcapng_interface interface = { .linktype = 1, .snaplen = 262144, .name = "eth0" };
	struct buf idb;

	strcpy(interface.filter, filter);
	buf_init(&idb, MSG_IDB_MAX);
	ck_assert_int_eq(pcapng_put_idb(&idb, &interface), 0);
	ck_assert_int_ge(spool_interface_add(lab.producer[0], idb.data, idb.len), 0);
	buf_clear(&idb);
}

START_TEST(addresses_are_told)
{
	uint8_t id[MSG_ID_SIZE] = { 9 };

	ck_assert_ptr_nonnull(netif = calloc(1, sizeof(*netif)));
	*netif = (struct netif){ .tap = { .ifindex = 7, .name = "eth0" }, .up = true, .default_route = true };
	lab.link.netifs = (struct netif_table){ .netif = netif, .count = 1 };
	netif_set(2, 1);
	ck_assert_uint_eq(tap->interface_count, 1);
	ck_assert_int_eq(spool_stream_begin(lab.producer[0], id, 1), 0);
	add_interface("");
	/* Not before capture says that it captures. */
	netif_set(2, 1);
	ck_assert_uint_eq(collector.addresses_count, 0);
	answer(true);
	expect_addresses(1, 0, 2);
	netif_set(2, 1);
	netif_set(MSG_ADDRESSES_MAX, 2);
	expect_addresses(2, 0, MSG_ADDRESSES_MAX);
	/* Another description of it takes over. */
	say_policy(&collector, 1, "udp");
	add_interface("udp");
	answer(true);
	ck_assert_uint_eq(collector.addresses_count, 4);
	ck_assert_uint_eq(collector.addresses[2].count, 0);
	expect_addresses(4, 1, MSG_ADDRESSES_MAX);
	/* Gone, at once; back when it is captured again. */
	netif->up = false;
	netif_set(1, 3);
	expect_addresses(5, 1, 0);
	answer(true);
	netif->up = true;
	netif_set(1, 3);
	ck_assert_uint_eq(collector.addresses_count, 5);
	answer(true);
	expect_addresses(6, 1, 1);
	/* A session of its own hears of what is. */
	far_close(&collector);
	far_open(&again, ROLE_COLLECTOR, "col");
	ck_assert_uint_eq(again.addresses_count, 1);
	ck_assert_uint_eq(again.addresses[0].id, 1);
	ck_assert_uint_eq(again.addresses[0].count, 1);
}
END_TEST

static void
make_contexts(void)
{
	script_context(ROLE_AGENT, "acme", "web1");
	script_context(ROLE_COLLECTOR, "", "col");
	script_context(ROLE_OPERATOR, "acme", "oper");
}

int
main(void)
{
	Suite *suite = suite_create("link_hints");
	TCase *list = tcase_create("list"), *session = tcase_create("session");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(list, list_changes);
	tcase_add_test(list, list_is_full);
	suite_add_tcase(suite, list);
	tcase_add_unchecked_fixture(session, make_contexts, NULL);
	tcase_add_checked_fixture(session, setup, teardown);
	tcase_set_timeout(session, 60);
	tcase_add_test(session, in_force_when_answered);
	tcase_add_test(session, only_the_newest_is_applied);
	tcase_add_test(session, lease_ends);
	tcase_add_test(session, lease_has_ended);
	tcase_add_test(session, policy_is_left_alone);
	tcase_add_test(session, refused_list_is_dropped);
	tcase_add_test(session, list_outlives_its_session);
	tcase_add_test(session, capture_starts_again);
	tcase_add_test(session, guest_refuses);
	tcase_add_test(session, operators_give_none);
	tcase_add_test(session, addresses_are_told);
	suite_add_tcase(suite, session);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
