-- SPDX-License-Identifier: BSD-2-Clause
-- For wrk in tests/bench/impact: a line of requests, seconds and latencies in ms. Without it if an answer was not the one asked for.
function done(summary, latency, requests)
	local e = summary.errors
	if e.connect + e.read + e.write + e.status + e.timeout > 0 or summary.requests == 0 then
		io.write("errors: ", e.connect, " connect, ", e.read, " read, ", e.write, " write, ", e.status, " status, ", e.timeout, " timeout\n")
		return
	end
	io.write(string.format("load %d %.6f %.3f %.3f %.3f\n", summary.requests, summary.duration / 1e6,
		latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency:percentile(99.9) / 1000))
end
