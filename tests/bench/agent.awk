# SPDX-License-Identifier: BSD-2-Clause
# The table of tests/bench/agent, after median.awk. Reads its "limits" (payload and a JSON line of the limit program) and "results"
# (a line a run); -v tick=CLK_TCK.
FILENAME ~ /limits$/ {
	match($0, /"codec":"[^"]*"/); codec = substr($0, RSTART + 9, RLENGTH - 10)
	key = $1 " " codec
	split("build_ns codec_ns tls_ns wire_per_captured", names, " ")
	for (i = 1; i <= 4; i++) {
		match($0, "\"" names[i] "\":[0-9.]+"); v = substr($0, RSTART, RLENGTH); sub(/.*:/, "", v)
		leg[key, names[i]] = leg[key, names[i]] " " v
	}
	limits[key] = 1
	next
}
{
	key = $1 " " $2 " " $3
	if (!(key in seen)) { order[++keys] = key; seen[key] = 1 }
	got = $5 > 0 ? $5 : 1
	cpu[key] = cpu[key] " " $6 / got / 1000
	machine[key] = machine[key] " " $7 / tick * 1e6 / $4
	loss[key] = loss[key] " " 100 * ($4 - $5) / $4
	wire[key] = wire[key] " " ($9 > 0 ? $8 / $9 : 0)
	own[key] = own[key] " " $10 / 1024
	spool[key] = spool[key] " " $11 / 1024
}
END {
	printf "%-14s %8s %-7s %12s %12s %8s %8s %9s %9s %9s %9s %9s\n", "candidate", "rate/s", "payload", "CPU s/Mpkt", "machine s/Mp",
	    "loss %", "wire/cap", "Pss MiB", "spool MiB", "x tcpdump", "x limit", "x pipe"
	for (k = 1; k <= keys; k++) {
		split(order[k], f, " ")
		if (f[1] == "none")
			continue
		c = median(cpu[order[k]])
		floor = median(cpu[(f[1] ~ /^sliced:/ ? "tcpdump:96 " : "tcpdump ") f[2] " " f[3]])
		base = median(machine["none " f[2] " " f[3]])
		codec = f[1]; sub(/^agent:/, "", codec)
		lk = f[3] " " codec
		least = lk in limits && floor > 0 ? floor + (median(leg[lk, "build_ns"]) + median(leg[lk, "codec_ns"]) + median(leg[lk, "tls_ns"])) / 1000 : 0
		pname = "pipe:" codec; sub(/:1$/, "", pname)
		pipe = f[1] ~ /^agent:/ ? median(cpu[pname " " f[2] " " f[3]]) : 0
		printf("%-14s %8s %-7s %12.3f %12.3f %8.2f %8.3f %9.1f %9.1f %9s %9s %9s\n", f[1], f[2] == 0 ? "max" : f[2], f[3], c,
		    median(machine[order[k]]) - base, median(loss[order[k]]), median(wire[order[k]]), median(own[order[k]]),
		    median(spool[order[k]]), floor > 0 ? sprintf("%.2f", c / floor) : "-", least > 0 ? sprintf("%.2f", c / least) : "-",
		    pipe > 0 ? sprintf("%.2f", c / pipe) : "-")
	}
	print ""
	for (lk in limits)
		printf "limit %-16s build %4.0f + codec %5.0f + TLS %4.0f ns a packet, wire/cap %.3f\n", lk, median(leg[lk, "build_ns"]),
		    median(leg[lk, "codec_ns"]), median(leg[lk, "tls_ns"]), median(leg[lk, "wire_per_captured"])
}
