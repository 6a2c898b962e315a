# SPDX-License-Identifier: BSD-2-Clause
# The table of tests/bench/withhold, out of its raw figures; after median.awk.
NR > 2 {
	if (!($2 in known)) { known[$2] = 1; workload[++workloads] = $2 }
	if ($1 > rounds) rounds = $1
	value["wire", $2, $3, $1] = $4 / 1e6
	value["machine", $2, $3, $1] = $5 / tick
	value["agents", $2, $3, $1] = $6 / 1e9
	value["collector", $2, $3, $1] = $7 / 1e9
	value["seen", $2, $3, $1] = $8 / 1e6
	drops[$2, $3] += $9
	value["all", $2, $3, $1] = $10 / 1e9
}
function in_all(what, load, mode,   list, round) {
	for (round = 1; round <= rounds; round++) list = list " " value[what, load, mode, round]
	return median(substr(list, 2))
}
function times(what, load, mode, first,   list, round) {
	for (round = 1; round <= rounds; round++) list = list " " value[what, load, mode, round] / value[what, load, first, round]
	return median(substr(list, 2))
}
function pair(what, load, mode, first, width) {
	return sprintf("%" width "s %6.3f ", sprintf("%.2f", in_all(what, load, mode)), times(what, load, mode, first))
}
END {
	n = split(modes, mode, " ")
	printf "%-7s %-9s %9s %9s %6s %10s %6s %7s %6s %9s %6s %11s %6s %6s\n", "load", "dedup", "seen MB", "wire MB", "times", "machine s", "times",
	    "all s", "times", "agents s", "times", "collector s", "times", "lost"
	for (w = 1; w <= workloads; w++)
		for (i = 1; i <= n; i++) {
			load = workload[w]
			printf "%-7s %-9s %9.1f %s%s%s%s%s%6d\n", load, mode[i], in_all("seen", load, mode[i]),
			    pair("wire", load, mode[i], mode[1], 9), pair("machine", load, mode[i], mode[1], 10), pair("all", load, mode[i], mode[1], 7),
			    pair("agents", load, mode[i], mode[1], 9), pair("collector", load, mode[i], mode[1], 11), drops[load, mode[i]]
		}
}
