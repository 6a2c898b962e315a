# SPDX-License-Identifier: BSD-2-Clause
# The tables of tests/bench/impact, after median.awk, from its file of raw figures; -v tick=CLK_TCK.
BEGIN { FS = "\t"; metrics = split("rate p50 p99 p999 machine", metric, " ") }
/^#/ || $1 == "round" { next }
{
	if (!(($2) in seen_workload)) { workload[++workloads] = $2; seen_workload[$2] = 1 }
	if (!(($3) in seen_candidate)) { candidate[++candidates] = $3; seen_candidate[$3] = 1 }
	if ($1 > rounds) rounds = $1
	value[$2, $3, $1, "rate"] = $4 / $5
	value[$2, $3, $1, "p50"] = $6
	value[$2, $3, $1, "p99"] = $7
	value[$2, $3, $1, "p999"] = $8
	value[$2, $3, $1, "machine"] = $9 / tick * 1e6 / $4
	value[$2, $3, $1, "own"] = $10 / 1000 / $4
	value[$2, $3, $1, "core"] = $10 / 1e7 / $5
	value[$2, $3, $1, "far"] = $11 / 1000 / $4
	value[$2, $3, $1, "lost"] = $12 > 0 ? 100 * ($12 - $13) / $12 : 0
}
function middle(w, c, m,   r, list) {
	for (r = 1; r <= rounds; r++) if ((w, c, r, m) in value) list = list " " value[w, c, r, m]
	return median(substr(list, 2))
}
function change(w, c, m,   r, ratio, list, low, high) {
	for (r = 1; r <= rounds; r++) {
		if (!((w, c, r, m) in value) || !(value[w, "none", r, m] > 0))
			continue
		ratio = 100 * (value[w, c, r, m] / value[w, "none", r, m] - 1)
		if (list == "" || ratio < low) low = ratio
		if (list == "" || ratio > high) high = ratio
		list = list " " ratio
	}
	return list == "" ? "-" : sprintf("%+.1f (%+.0f %+.0f)", median(substr(list, 2)), low, high)
}
function row(w, c,   i) {
	printf "%-13s", c
	for (i = 1; i <= metrics; i++)
		if (c != "none")
			printf " %17s", change(w, c, metric[i])
		else
			printf metric[i] == "rate" ? " %17.0f" : " %17.3f", middle(w, c, metric[i])
	if (c ~ /^none/)
		printf "\n"
	else
		printf " %8.2f %6.1f %8.2f %7.2f\n", middle(w, c, "own"), middle(w, c, "core"), middle(w, c, "far"),
		    middle(w, c, "lost")
}
END {
	for (w = 1; w <= workloads; w++) {
		printf "\n%-13s %17s %17s %17s %17s %17s %8s %6s %8s %7s\n", workload[w], "requests/s", "p50 ms", "p99 ms",
		    "p99.9 ms", "machine us/req", "own us/r", "core %", "far us/r", "lost %"
		row(workload[w], "none")
		for (c = 1; c <= candidates; c++) if (candidate[c] != "none") row(workload[w], candidate[c])
	}
	print ""
}
