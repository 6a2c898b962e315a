/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) 2026 The vmtap authors */
#include "config.h"

#include <stdint.h>

#include "common/clock.h"
#include "common/expiry.h"
#include "common/log.h"

#define DAY_S	86400

enum expiry_level
expiry_level(time_t not_after, time_t now)
{
	time_t left = not_after - now;

	return left > 30 * DAY_S ? EXPIRY_FAR : left > 7 * DAY_S ? EXPIRY_INFO : left > DAY_S ? EXPIRY_WARN : EXPIRY_ERROR;
}

enum expiry_level
expiry_warn(struct expiry *e, const char *name, const char *consequence, time_t not_after, time_t now)
{
	enum expiry_level level = expiry_level(not_after, now);
	long long days = (long long)(not_after - now) / DAY_S;
	char when[CLOCK_ISO_SIZE];

	if (level == EXPIRY_FAR)
		*e = (struct expiry){ 0 };
	if (level == EXPIRY_FAR || (level <= e->level && now >= e->said && now - e->said < DAY_S))
		return EXPIRY_FAR;
	*e = (struct expiry){ .said = now, .level = level };
	clock_iso((uint64_t)not_after * 1000000000, when, sizeof(when));
	if (level == EXPIRY_INFO)
		log_info("the certificate %s ends in %lld days (%s)", name, days, when);
	else if (level == EXPIRY_WARN)
		log_warn("the certificate %s ends in %lld days (%s): renew it", name, days, when);
	else
		log_error("the certificate %s %s at %s: %s", name, not_after < now ? "ended" : "ends", when, consequence);
	return level;
}
