# SPDX-License-Identifier: BSD-2-Clause
# The tables of tests/bench/collector: medians over the rounds, and lines of least squares through the medians. -v mb: MB/s in all
function median(case_, sessions, column,	n, i, j, t, v) {
	n = count[case_, sessions]
	for (i = 1; i <= n; i++) v[i] = value[case_, sessions, i, column]
	for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}
function put(column, x) { value[$1, $3, count[$1, $3], column] = x }
function fit(case_, column,	i, n, x, y, sx, sy, sxx, sxy) {	# sets slope and fixed; 0: too few points
	for (i = 1; i <= kinds[case_]; i++) {
		x = kind[case_, i]; y = median(case_, x, column)
		n++; sx += x; sy += y; sxx += x * x; sxy += x * y
	}
	if (n < 2) return 0
	slope = (n * sxy - sx * sy) / (n * sxx - sx * sx)
	fixed = (sy - slope * sx) / n
	return 1
}
function lines(case_, what) {
	if (fit(case_, "cpu")) printf "%-34s CPU %8.3f s/s + %8.2f us/s a session\n", what, fixed, slope * 1e6
	if (fit(case_, "rss")) printf "%-34s resident %8.1f MiB + %6.1f KiB a session", what, fixed / 1024, slope
	if (fit(case_, "anon")) printf ", of it anonymous %.1f MiB + %.1f KiB\n", fixed / 1024, slope
}
function memory(case_, what,	few, most) {
	if (kinds[case_] < 2) return
	few = kind[case_, 1]; most = kind[case_, kinds[case_]]
	printf "%-34s %.1f KiB resident a session (%d - %d sessions), %.1f KiB anonymous\n", what,
	    (median(case_, most, "rss") - median(case_, few, "rss")) / (most - few), most, few,
	    (median(case_, most, "anon") - median(case_, few, "anon")) / (most - few)
}
/^#/ { next }
{
	if (!count[$1, $3]++) kind[$1, ++kinds[$1]] = $3
	put("rss", $9); put("anon", $10); put("peak", $11); put("p50", $12 / 1e3); put("p99", $13 / 1e3)
	if ($4 == 0) next
	put("cpu", $5 / $4); put("mbs", $7 / $4 * 1e3); put("blocks", $6 / $4 * 1e9)
	put("block_us", $6 > 0 ? $5 / $6 / 1e3 : 0); put("stored", $7 / $5 * 1e3); put("raw", $8 / $5 * 1e3)
}
END {
	if (kinds["rate"]) {
		print "\nAs fast as is acknowledged"
		printf "%8s %10s %10s %14s %14s %10s %10s\n", "sessions", "MB/s", "CPU s/s", "MB per CPU s", "raw MB/CPU s", "p50 ms", "p99 ms"
	}
	for (i = 1; i <= kinds["rate"]; i++) {
		n = kind["rate", i]
		printf "%8d %10.1f %10.3f %14.1f %14.1f %10.1f %10.1f\n", n, median("rate", n, "mbs"), median("rate", n, "cpu"),
		    median("rate", n, "stored"), median("rate", n, "raw"), median("rate", n, "p50"), median("rate", n, "p99")
	}
	if (kinds["load"]) {
		printf "\n%g MB/s of blocks in all\n", mb
		printf "%8s %8s %10s %9s %10s %14s %14s %11s %9s %9s\n", "sessions", "MB/s", "blocks/s", "CPU s/s", "us a block",
		    "resident KiB", "anonymous KiB", "peak KiB", "p50 ms", "p99 ms"
	}
	for (i = 1; i <= kinds["load"]; i++) {
		n = kind["load", i]
		printf "%8d %8.2f %10.0f %9.4f %10.1f %14d %14d %11d %9.1f %9.1f\n", n, median("load", n, "mbs"), median("load", n, "blocks"),
		    median("load", n, "cpu"), median("load", n, "block_us"), median("load", n, "rss"), median("load", n, "anon"),
		    median("load", n, "peak"), median("load", n, "p50"), median("load", n, "p99")
	}
	if (kinds["load"] + kinds["idle"] > 0) print "\nFixed part and part of a session (least squares)"
	lines("load", mb " MB/s in all")
	lines("idle", "idle")
	memory("idle", "idle")
	memory("after", "idle after " mb " MB/s in all")
}
