# SPDX-License-Identifier: BSD-2-Clause
# The table of tests/bench/compression, after median.awk. Reads a line a round, input, snaplen and codec: group snaplen codec round
# packets uncut_bytes captured_bytes encoded_bytes blocks stored_blocks ns; -v full=SNAPLEN.
{
	if (!(($1, $2) in seen_input)) { input[++inputs] = $1 SUBSEP $2; seen_input[$1, $2] = 1 }
	if (!($3 in seen_codec)) { codec[++codecs] = $3; seen_codec[$3] = 1 }
	if ($4 > rounds) rounds = $4
	for (i = 5; i <= 11; i++) sum[$1, $2, $3, $4, i] += $i
}
function per(key, over, under,   r, list) {	# the median of the rounds' ratios
	for (r = 1; r <= rounds; r++) if (sum[key, r, under] > 0) list = list " " sum[key, r, over] / sum[key, r, under]
	return median(substr(list, 2))
}
function row(key, c) {
	split(key, f, SUBSEP)
	key = key SUBSEP c
	printf "%-12s %5s %-8s %9d %7.0f %10.4f %10.4f %10.1f %8.1f\n", f[1], f[2] == full ? "full" : f[2], c, sum[key, 1, 5],
	    per(key, 7, 5), per(key, 8, 7), per(key, 8, 6), per(key, 11, 5), 100 * per(key, 10, 9)
}
END {
	printf "%-12s %5s %-8s %9s %7s %10s %10s %10s %8s\n", "input", "cut", "codec", "packets", "mean B", "wire/capt",
	    "wire/uncut", "ns/packet", "stored %"
	for (i = 1; i <= inputs; i++) for (j = 1; j <= codecs; j++) row(input[i], codec[j])
}
