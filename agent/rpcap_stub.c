#include "config.h"
#include <stdlib.h>
#include <string.h>
#include "agent/link.h"
#include "agent/rpcap.h"
#include "agent/rpcap_server.h"
struct rpcap_capture { int x; };
void rpcap_capture_start(struct rpcap_client *c, const struct rpcap_startcap *s, struct rpcap_filter *f) { (void)s; free((void *)(uintptr_t)f->insn); rpcap_client_refuse(c, RPCAP_ERR_STARTCAPTURE, "stub"); }
void rpcap_capture_filter(struct rpcap_client *c, struct rpcap_filter *f) { free((void *)(uintptr_t)f->insn); rpcap_client_refuse(c, RPCAP_ERR_UPDATEFILTER, "stub"); }
void rpcap_capture_stats(struct rpcap_client *c) { rpcap_client_refuse(c, RPCAP_ERR_GETSTATS, "stub"); }
void rpcap_capture_end(struct rpcap_client *c) { rpcap_client_refuse(c, RPCAP_ERR_ENDCAPTURE, "stub"); }
void rpcap_capture_free(struct rpcap_capture *c) { free(c); }
size_t rpcap_capture_endpoints(const struct rpcap_capture *c, struct ipc_endpoint *e, size_t m) { (void)c; (void)e; (void)m; return 0; }
uint64_t rpcap_capture_unsent(const struct rpcap_capture *c) { (void)c; return 0; }
void rpcap_capture_hold(struct rpcap_capture *c, bool h) { (void)c; (void)h; }
void rpcap_capture_answered(struct rpcap_capture *c) { (void)c; }
void rpcap_capture_restart(struct rpcap_capture *c) { (void)c; }
void rpcap_capture_log(const struct rpcap_capture *c) { (void)c; }
