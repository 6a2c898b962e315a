/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "agent/governor.h"

#define MS		UINT64_C(1000000)
#define SMOOTH_LOOKS	4		/* how far back an average goes */
#define PACKETS_LEAST	100		/* in a look, to tell from it what one costs */
#define GOAL		0.8		/* of what is allowed, where it settles */
#define EXCESS_CLEAR	1.3		/* of what is allowed: over it at the first look; else two have to say so */
#define DISTRESS	0.7		/* of what is allowed, while the guest lacks CPU */
#define DISTRESS_LOOKS	8		/* of which it is an average */
#define STALL_MUCH	0.5		/* of the time somebody waits for a CPU */
#define STEAL_MUCH	0.1
#define DROPS_MANY	0.01		/* of what passed the filter */
#define CEILING_NS	(30000 * MS)	/* then it is forgotten */
#define SPOOL_HIGH	50u		/* percent: the link takes less than comes */
#define SPOOL_LOW	10u
#define LINK_PROBE_HOLDS	4	/* so many times the hold: then a step up is tried that should not fit */
#define CPU_PROBE_HOLDS		30
#define ROLES_CORES	2.2		/* more than both can use: not of this look alone */
#define CEILING_LEAST	0.25		/* of the limit; without one, of a tenth of a core */
#define KEEP_STEP	4		/* a part of the flows more is no step, a quarter of them is */

static const struct {
	const char	*name, *words;
} steps[GOVERNOR_STEPS] = {
	[GOVERNOR_CODEC] = { "codec", "the codec's cheapest level" },
	[GOVERNOR_STORE] = { "store", "blocks uncompressed" },
	[GOVERNOR_SLICE] = { "slice", "headers only" },
	[GOVERNOR_SAMPLE] = { "sample", NULL },
	[GOVERNOR_PAUSE] = { "pause", NULL },
};

/* --- the ladder --- */

static int
step_by_name(const char *name, size_t len)
{
	for (int step = 0; step < GOVERNOR_STEPS; step++)
		if (strlen(steps[step].name) == len && strncmp(steps[step].name, name, len) == 0)
			return step;
	return -1;
}

int
governor_parse_ladder(const char *text, unsigned *ladder, char *error, size_t error_size)
{
	unsigned found = 0;
	size_t len;
	int step;

	for (const char *p = text; strcmp(text, "none") != 0; p += len + 1) {
		len = strcspn(p, ",");
		if ((step = step_by_name(p, len)) == -1) {
			snprintf(error, error_size, "\"%.*s\" is no step; steps are: codec, store, slice, sample, pause; or none alone",
			    len < 64 ? (int)len : 64, p);
			return -1;
		}
		found |= 1u << step;
		if (p[len] == '\0')
			break;
	}
	*ladder = found;
	return 0;
}

/* Each rung has the steps of the one before, too. */
static void
regulator_init(struct governor_regulator *r, unsigned ladder)
{
	memset(r, 0, sizeof(*r));
	r->rung_count = 1;
	for (unsigned step = GOVERNOR_CODEC; step <= GOVERNOR_SLICE; step++)
		if ((ladder & 1u << step) != 0) {
			r->rung[r->rung_count] = r->rung[r->rung_count - 1] | 1u << step;
			r->rung_count++;
		}
	r->samples = (ladder & 1u << GOVERNOR_SAMPLE) != 0;
	r->pauses = (ladder & 1u << GOVERNOR_PAUSE) != 0;
	r->keep = GOVERNOR_KEEP_ALL;
	r->hold_ns = GOVERNOR_HOLD_MIN_MS * MS;
}

/* --- one regulator --- */

/* What it is told of the time since the last look. */
struct load {
	uint64_t	now_ns;
	double		used;		/* a second, in its unit */
	double		allowed;
	double		packets;	/* a second, captured */
	double		demand;		/* and what would be with nothing left out; below 0: unknown */
	unsigned	interfaces;
	bool		over;
	bool		calm;		/* it may go up, where that fits */
	unsigned	probe_holds;
};

static void
learn(struct governor_regulator *r, const struct load *load, double seconds)
{
	if (load->packets * seconds < PACKETS_LEAST)
		return;
	r->spent[r->at] = r->spent[r->at] / 2 + load->used * seconds;
	r->packets[r->at] = r->packets[r->at] / 2 + load->packets * seconds;
}

/* Of a rung never stood on: no more than the next above that is known. 0: unknown. */
static double
cost_on(const struct governor_regulator *r, unsigned rung)
{
	for (unsigned i = rung + 1; i-- > 0;)
		if (r->packets[i] > 0)
			return r->spent[i] / r->packets[i];
	return 0;
}

static bool
fits(const struct governor_regulator *r, const struct load *load, unsigned rung, unsigned keep)
{
	return load->demand * cost_on(r, rung) * keep / GOVERNOR_KEEP_ALL <= GOAL * load->allowed;
}

static unsigned
keep_that_fits(const struct governor_regulator *r, const struct load *load)
{
	unsigned keep = r->keep;

	while (keep < GOVERNOR_KEEP_ALL && fits(r, load, r->at, keep + 1))
		keep++;
	return keep == GOVERNOR_KEEP_ALL || keep - r->keep >= (r->keep + KEEP_STEP - 1) / KEEP_STEP ? keep : r->keep;
}

/* The least that it could order now instead of what it does. */
static struct governor_regulator
place_above(const struct governor_regulator *r, const struct load *load)
{
	struct governor_regulator above = *r;

	for (unsigned rung = 0; rung <= r->at; rung++)
		if (fits(r, load, rung, GOVERNOR_KEEP_ALL)) {
			above.at = rung;
			above.keep = GOVERNOR_KEEP_ALL;
			above.paused = 0;
			return above;
		}
	if (r->paused == 0)
		above.keep = keep_that_fits(r, load);
	return above;
}

/* One step up, whether it fits or not. */
static struct governor_regulator
place_next(const struct governor_regulator *r)
{
	struct governor_regulator next = *r;

	if (r->paused > 0)
		next.paused--;
	else if (r->keep < GOVERNOR_KEEP_ALL)
		next.keep = r->keep * 2 < GOVERNOR_KEEP_ALL ? r->keep * 2 : GOVERNOR_KEEP_ALL;
	else if (r->at > 0)
		next.at--;
	return next;
}

static bool
place_differs(const struct governor_regulator *a, const struct governor_regulator *b)
{
	return a->at != b->at || a->keep != b->keep || a->paused != b->paused;
}

/* An adjustment is no relapse. */
static void
count_relapse(struct governor_regulator *r, const struct governor_regulator *down, uint64_t now_ns)
{
	bool large = r->at != down->at || r->paused != down->paused || down->keep * KEEP_STEP <= r->keep * (KEEP_STEP - 1);

	if (!large || r->up_ns == 0 || r->relapsed || now_ns - r->up_ns >= GOVERNOR_RELAPSE_MS * MS)
		return;
	r->relapsed = true;
	r->hold_ns *= 2;
	if (r->hold_ns > GOVERNOR_HOLD_MAX_MS * MS)
		r->hold_ns = GOVERNOR_HOLD_MAX_MS * MS;
}

static struct governor_regulator
place_below(const struct governor_regulator *r, const struct load *load)
{
	double excess = load->allowed > 0 ? load->used / load->allowed : 1e9;
	double goal = excess > GOAL ? r->keep * GOAL / excess : r->keep;
	unsigned last = r->rung_count - 1, keep = (unsigned)goal;
	struct governor_regulator below = *r;

	if (r->at < last)
		below.at = excess > 4 ? last : excess > 2 && r->at + 2 <= last ? r->at + 2 : r->at + 1;
	else if (r->samples && r->keep > 1)
		below.keep = keep == 0 ? 1 : keep < r->keep ? keep : r->keep - 1;
	else if (r->pauses && r->paused < load->interfaces)
		below.paused++;
	return below;
}

static bool
move_down(struct governor_regulator *r, const struct load *load)
{
	struct governor_regulator below = place_below(r, load);

	r->fits_since_ns = r->calm_since_ns = 0;
	below.fits_since_ns = below.calm_since_ns = 0;
	if (!place_differs(&below, r))
		return false;
	count_relapse(r, &below, load->now_ns);
	below.hold_ns = r->hold_ns;
	below.relapsed = r->relapsed;
	*r = below;
	return true;
}

static bool
move_up(struct governor_regulator *r, const struct load *load)
{
	struct governor_regulator above = load->demand < 0 ? place_next(r) : place_above(r, load);
	uint64_t calm_ns;

	if (r->calm_since_ns == 0)
		r->calm_since_ns = load->now_ns;
	if (!place_differs(&above, r))
		r->fits_since_ns = 0;
	else if (r->fits_since_ns == 0)
		r->fits_since_ns = load->now_ns;
	calm_ns = load->now_ns - r->calm_since_ns;
	if (r->fits_since_ns == 0 && load->probe_holds > 0 && calm_ns >= load->probe_holds * r->hold_ns)
		above = place_next(r);
	else if (r->fits_since_ns == 0 || load->now_ns - r->fits_since_ns < r->hold_ns)
		return false;
	if (!r->relapsed && r->up_ns != 0 && load->now_ns - r->up_ns > GOVERNOR_RELAPSE_MS * MS)
		above.hold_ns = GOVERNOR_HOLD_MIN_MS * MS;
	above.relapsed = false;
	above.up_ns = load->now_ns;
	above.fits_since_ns = above.calm_since_ns = 0;
	*r = above;
	return true;
}

/* true: it stands elsewhere now. */
static bool
regulate(struct governor_regulator *r, const struct load *load)
{
	if (load->over)
		return move_down(r, load);
	if (!load->calm || (r->at == 0 && r->keep == GOVERNOR_KEEP_ALL && r->paused == 0)) {
		r->fits_since_ns = r->calm_since_ns = 0;
		return false;
	}
	return move_up(r, load);
}

/* --- both --- */

static double
since(uint64_t now, uint64_t before)
{
	return now >= before ? (double)(now - before) : (double)now;
}

static void
average(double *mean, double value, unsigned looks)
{
	double weight = 1.0 / (looks < SMOOTH_LOOKS ? looks : SMOOTH_LOOKS);

	*mean += (value - *mean) * weight;
}

/* What we may use: less in a guest that lacks CPU, and no more than ring drops have shown there is. */
static double
cpu_allowed(struct governor *g, const struct governor_sample *s, double seconds)
{
	double allowed = g->limits.cpu_percent > 0 ? (double)g->limits.cpu_percent / 100 : 1e9;

	g->stalled += (since(s->stalled_us, g->last.stalled_us) / 1e6 / seconds - g->stalled) / DISTRESS_LOOKS;
	g->stolen += (since(s->stolen_us, g->last.stolen_us) / 1e6 / seconds - g->stolen) / DISTRESS_LOOKS;
	if (g->stalled > STALL_MUCH || g->stolen > STEAL_MUCH)
		allowed *= DISTRESS;
	if (s->now_ns - g->ceiling_ns > CEILING_NS)
		g->ceiling = 0;
	return g->ceiling > 0 && g->ceiling < allowed ? g->ceiling : allowed;
}

/* Packets that the ring had no room for: capture was not run as much as it wanted. */
static bool
ring_drops(struct governor *g, const struct governor_sample *s, double used)
{
	double least = CEILING_LEAST * (g->limits.cpu_percent > 0 ? (double)g->limits.cpu_percent / 100 : 0.1);
	double dropped = since(s->ring_dropped, g->last.ring_dropped), all = since(s->ring_received, g->last.ring_received);

	if (s->disturbed || all < PACKETS_LEAST || dropped < DROPS_MANY * all) {
		g->dropping = 0;
		return false;
	}
	if (++g->dropping < 2)
		return false;
	g->ceiling = used * (1 - dropped / all) > least ? used * (1 - dropped / all) : least;
	g->ceiling_ns = s->now_ns;
	return true;
}

static bool
is_over(double used, double mean, double allowed, unsigned looks)
{
	return used > EXCESS_CLEAR * allowed || (looks > 1 && mean > allowed);
}

static bool
look_at_cpu(struct governor *g, const struct governor_sample *s, struct load *load, double seconds)
{
	double used = since(s->cpu_us, g->last.cpu_us) / 1e6 / seconds;
	bool drops = ring_drops(g, s, used);

	average(&g->cpu_share, used, g->looks);
	load->used = used;
	learn(&g->cpu, load, seconds);
	load->allowed = cpu_allowed(g, s, seconds);
	load->over = drops || is_over(used, g->cpu_share, load->allowed, g->looks);
	load->calm = g->dropping == 0;
	load->probe_holds = g->cpu.keep == GOVERNOR_KEEP_ALL ? CPU_PROBE_HOLDS : 0;	/* what a packet costs here is known */
	if (!load->over)
		load->used = g->cpu_share;
	return regulate(&g->cpu, load);
}

/* Nothing is told by a link that is down: what to do about that is the spool's part. */
static bool
look_at_link(struct governor *g, const struct governor_sample *s, struct load *load, double seconds)
{
	double sent = since(s->sent, g->last.sent) / seconds, encoded = since(s->encoded, g->last.encoded) / seconds;

	average(&g->link_rate, encoded, g->looks);
	load->used = encoded;
	learn(&g->link, load, seconds);
	if (s->spool_percent >= SPOOL_HIGH && sent > 0)
		g->capacity = sent;
	load->allowed = g->capacity;
	load->over = s->spool_percent >= SPOOL_HIGH && sent > 0 && encoded > GOAL * sent;
	load->calm = s->spool_percent <= SPOOL_LOW;
	load->probe_holds = LINK_PROBE_HOLDS;
	return regulate(&g->link, load);
}

static void
orders_add(struct governor_orders *orders, const struct governor_regulator *r)
{
	unsigned in_force = r->rung[r->at];

	orders->cheaper |= (in_force & 1u << GOVERNOR_CODEC) != 0;
	orders->store |= (in_force & 1u << GOVERNOR_STORE) != 0;
	orders->slice |= (in_force & 1u << GOVERNOR_SLICE) != 0;
	if (r->keep < orders->keep)
		orders->keep = (uint8_t)r->keep;
	if (r->paused > orders->paused)
		orders->paused = (uint8_t)r->paused;
}

bool
governor_orders_equal(const struct governor_orders *a, const struct governor_orders *b)
{
	return a->cheaper == b->cheaper && a->store == b->store && a->slice == b->slice && a->keep == b->keep &&
	    a->paused == b->paused;
}

unsigned
governor_orders_level(const struct governor_orders *orders)
{
	return (unsigned)orders->cheaper + orders->store + orders->slice + (orders->keep < GOVERNOR_KEEP_ALL) + (orders->paused > 0);
}

/* --- what it says --- */

static size_t
say(char *text, size_t len, const char *words)
{
	return len + (size_t)snprintf(text + len, GOVERNOR_TEXT_SIZE - len, "%s%s", len > 0 ? ", " : "", words);
}

static size_t
say_orders(char *text, const struct governor_orders *orders)
{
	char number[64];
	size_t len = 0;

	if (orders->cheaper && !orders->store)
		len = say(text, len, steps[GOVERNOR_CODEC].words);
	if (orders->store)
		len = say(text, len, steps[GOVERNOR_STORE].words);
	if (orders->slice)
		len = say(text, len, steps[GOVERNOR_SLICE].words);
	if (orders->keep < GOVERNOR_KEEP_ALL) {
		snprintf(number, sizeof(number), "%u/%u of the flows", orders->keep, (unsigned)GOVERNOR_KEEP_ALL);
		len = say(text, len, number);
	}
	if (orders->paused > 0) {
		snprintf(number, sizeof(number), "%u interface%s paused", orders->paused, orders->paused > 1 ? "s" : "");
		len = say(text, len, number);
	}
	return len > 0 ? len : say(text, len, "all of it again");
}

static void
say_all(struct governor *g, const struct governor_sample *s, const struct load *cpu, bool link_moved)
{
	char *text = g->text;
	size_t len = say_orders(text, &g->orders);

	if (link_moved)
		snprintf(text + len, GOVERNOR_TEXT_SIZE - len, " (the link takes %.0f of %.0f kB/s, the spool is %u %% full)",
		    g->capacity / 1e3, g->link_rate / 1e3, s->spool_percent);
	else if (g->dropping > 1)
		snprintf(text + len, GOVERNOR_TEXT_SIZE - len, " (the ring overflows at %.1f %% of a core)", 100 * cpu->used);
	else if (g->limits.cpu_percent > 0)
		snprintf(text + len, GOVERNOR_TEXT_SIZE - len, " (CPU %.1f %% of a core, %.1f %% allowed)", 100 * cpu->used,
		    100 * (cpu->allowed < 1e6 ? cpu->allowed : 0));
}

/* --- looking --- */

static void
start_over(struct governor *g, const struct governor_sample *s)
{
	g->last = *s;
	g->begun = true;
	g->looks = 0;
	g->cpu_share = g->link_rate = 0;
}

/* What is offered to an interface that is paused is more than its filter would pass. */
static double
demand(const struct governor *g, const struct governor_sample *s, double packets, double seconds)
{
	if (g->orders.paused > 0)
		return -1;
	if (s->left_out_known)
		return packets + since(s->left_out, g->last.left_out) / seconds;
	return packets * GOVERNOR_KEEP_ALL / g->orders.keep;
}

bool
governor_look(struct governor *g, const struct governor_sample *s)
{
	struct governor_orders orders = GOVERNOR_NO_ORDERS;
	double seconds = since(s->now_ns, g->last.now_ns) / 1e9;
	struct load cpu, link;
	bool link_moved;

	if (!g->begun)
		start_over(g, s);
	if (s->now_ns - g->last.now_ns < GOVERNOR_LOOK_MS * MS)
		return false;
	if (since(s->cpu_us, g->last.cpu_us) / 1e6 > ROLES_CORES * seconds) {
		start_over(g, s);
		return false;
	}
	g->looks++;
	cpu = (struct load){ .now_ns = s->now_ns, .packets = since(s->packets, g->last.packets) / seconds,
		.interfaces = s->interfaces };
	cpu.demand = demand(g, s, cpu.packets, seconds);
	link = cpu;
	link_moved = look_at_link(g, s, &link, seconds);
	look_at_cpu(g, s, &cpu, seconds);
	g->last = *s;
	orders_add(&orders, &g->cpu);
	orders_add(&orders, &g->link);
	if (governor_orders_equal(&orders, &g->orders))
		return false;
	g->orders = orders;
	say_all(g, s, &cpu, link_moved);
	return true;
}

void
governor_applied(struct governor *g, const struct governor_sample *s)
{
	g->in_force = g->orders;
	start_over(g, s);
}

/* Not by CPU: to compress less would send more. */
static unsigned
link_ladder(unsigned ladder)
{
	return ladder & ~(1u << GOVERNOR_CODEC | 1u << GOVERNOR_STORE);
}

void
governor_init(struct governor *g, const struct governor_limits *limits)
{
	memset(g, 0, sizeof(*g));
	g->orders = g->in_force = (struct governor_orders)GOVERNOR_NO_ORDERS;
	g->limits = *limits;
	regulator_init(&g->cpu, limits->ladder);
	regulator_init(&g->link, link_ladder(limits->ladder));
}

void
governor_set_limits(struct governor *g, const struct governor_limits *limits)
{
	bool same = g->limits.ladder == limits->ladder;

	g->limits = *limits;
	if (same)
		return;
	regulator_init(&g->cpu, limits->ladder);
	regulator_init(&g->link, link_ladder(limits->ladder));
}

void
governor_refused(struct governor *g)
{
	g->orders = g->in_force;
	g->limits.ladder &= ~(1u << GOVERNOR_SLICE | 1u << GOVERNOR_SAMPLE);
	regulator_init(&g->cpu, g->limits.ladder);
	regulator_init(&g->link, link_ladder(g->limits.ladder));
}

bool
governor_idle(const struct governor *g)
{
	static const struct governor_orders none = GOVERNOR_NO_ORDERS;

	return governor_orders_equal(&g->orders, &none);
}
