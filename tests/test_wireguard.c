/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Allowed addresses, as wireguard-go's socket and the kernel's netlink tell them, and what they mean. */

#include "enrich/wireguard.h"
#include "source/wireguard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/wireguard.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"
#include "suite.h"

#define KEY_A "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
#define KEY_B "a1a2030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"

/* An answer as wireguard-go of Debian 12 gives it. */
static const char answer[] =
	"private_key=e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a\n"
	"listen_port=51820\n"
	"public_key=" KEY_A "\n"
	"protocol_version=1\n"
	"endpoint=198.51.100.77:51820\n"
	"last_handshake_time_sec=0\n"
	"allowed_ip=100.90.0.2/32\n"
	"allowed_ip=fd12:3456:789a:1::2/128\n"
	"allowed_ip=10.30.0.0/24\n"
	"public_key=" KEY_B "\n"
	"tx_bytes=12\n"
	"allowed_ip=10.40.7.9/16\n"
	"allowed_ip=::/0\n"
	"errno=0\n"
	"\n";

static GArray *
array(void)
{
	return g_array_new(false, true, sizeof(struct tunnel_prefix));
}

/* "01 100.90.0.2/32, …": the first octet of the key and the prefix. */
static char *
show(const GArray *prefixes)
{
	GString *text = g_string_new(NULL);
	char host[INET6_ADDRSTRLEN];

	for (guint i = 0; i < prefixes->len; i++) {
		const struct tunnel_prefix *prefix = &g_array_index(prefixes, struct tunnel_prefix, i);
		inet_ntop(prefix->family == 4 ? AF_INET : AF_INET6, &prefix->address, host, sizeof host);
		g_string_append_printf(text, "%s%02x %s/%u", i ? ", " : "", prefix->key[0], host, prefix->length);
	}
	return g_string_free(text, false);
}

#define EXPECTED "01 100.90.0.2/32, 01 fd12:3456:789a:1::2/128, 01 10.30.0.0/24, a1 10.40.0.0/16, a1 ::/0"

/* ---- the socket's protocol ---- */

static void
test_text(void)
{
	g_autoptr(GArray) prefixes = array();
	g_autoptr(GError) error = NULL;

	CU_ASSERT_TRUE(wireguard_parse(answer, strlen(answer), prefixes, &error));
	g_autofree char *shown = show(prefixes);
	CU_ASSERT_STRING_EQUAL(shown, EXPECTED);
	/* Cut anywhere, it is refused. */
	for (size_t length = 0; length < strlen(answer); length++) {
		g_autoptr(GArray) some = array();
		CU_ASSERT_FALSE(wireguard_parse(answer, length, some, NULL));
	}
}

static void
test_text_refused(void)
{
	static const char key[] = "public_key=" KEY_A "\n";
	static const struct {
		const char *before, *line, *error;
	} cases[] = {
		{ "", "errno=22\n", "the answer reports an error" },
		{ "", "\n", "the answer ends without errno" },
		{ "", "allowed_ip=10.0.0.0/8\n", "the answer has an allowed_ip before the peer's public_key" },
		{ "", "public_key=01\n", "the answer has a public_key that is none" },
		{ "", "public_key=" KEY_A "0\n", "the answer has a public_key that is none" },
		{ "", "public_key=x" KEY_A "\n", "the answer has a public_key that is none" },
		{ key, "allowed_ip=10.0.0.0/33\n", "the answer has an allowed_ip that is none" },
		{ key, "allowed_ip=10.0.0.0\n", "the answer has an allowed_ip that is none" },
		{ key, "allowed_ip=/8\n", "the answer has an allowed_ip that is none" },
		{ key, "allowed_ip=\n", "the answer has an allowed_ip that is none" },
		{ key, "allowed_ip=::/129\n", "the answer has an allowed_ip that is none" },
		{ key, "allowed_ip=10.0.0.0/-1\n", "the answer has an allowed_ip that is none" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GArray) prefixes = array();
		g_autoptr(GError) error = NULL;
		g_autofree char *text = g_strconcat(cases[i].before, cases[i].line, "errno=0\n\n", NULL);
		CU_ASSERT_FALSE(wireguard_parse(text, strlen(text), prefixes, &error));
		CU_ASSERT_PTR_NOT_NULL_FATAL(error);
		CU_ASSERT_STRING_EQUAL(error->message, cases[i].error);
		CU_ASSERT_EQUAL(error->code, EX_DATAERR);
	}
	g_autofree char *line = g_strnfill(100000, 'x');
	g_autoptr(GArray) prefixes = array();
	CU_ASSERT_FALSE(wireguard_parse(line, strlen(line), prefixes, NULL));
}

/* Answers the one question of one visitor and closes. */
static int
serve(const char *path, const char *text, GPid *child)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	g_strlcpy(address.sun_path, path, sizeof address.sun_path);
	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	CU_ASSERT_EQUAL_FATAL(listen(fd, 1), 0);
	*child = fork();
	if (*child == 0) {
		char question[64];
		int visitor = accept(fd, NULL, NULL);
		if (recv(visitor, question, sizeof question, 0) == 7 && !memcmp(question, "get=1\n\n", 7))
			for (; *text; text++)
				send(visitor, text, 1, MSG_NOSIGNAL);
		_exit(0);
	}
	return fd;
}

static void
test_socket(void)
{
	g_autofree char *directory = g_dir_make_tmp("peerflow-XXXXXX", NULL);
	g_autofree char *path = g_strconcat(directory, "/wt0.sock", NULL);
	static const struct {
		const char *text, *error;
	} cases[] = {
		{ answer, NULL }, { "errno=1\n\n", "the answer reports an error" }, { "errno=0\n", "the answer is cut short" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GArray) prefixes = array();
		g_autoptr(GError) error = NULL;
		GPid child;
		int fd = serve(path, cases[i].text, &child);
		const bool good = wireguard_socket(directory, "wt0", 5000, prefixes, &error);
		CU_ASSERT_EQUAL(good, !cases[i].error);
		g_autofree char *expected = g_strdup_printf("%s: %s", path, cases[i].error);
		CU_ASSERT_TRUE(cases[i].error ? error && strcmp(error->message, expected) == 0 : prefixes->len == 5);
		close(fd);
		waitpid(child, NULL, 0);
		unlink(path);
	}
	rmdir(directory);
}

static void
test_no_socket(void)
{
	g_autofree char *directory = g_dir_make_tmp("peerflow-XXXXXX", NULL);
	g_autofree char *path = g_strconcat(directory, "/wt0.sock", NULL);
	g_autoptr(GArray) prefixes = array();
	g_autoptr(GError) absent = NULL, silent = NULL;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	CU_ASSERT_FALSE(wireguard_socket(directory, "wt0", 5000, prefixes, &absent));
	CU_ASSERT_TRUE(absent && absent->code == EX_UNAVAILABLE && strstr(absent->message, "No such file"));
	g_strlcpy(address.sun_path, path, sizeof address.sun_path);
	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	CU_ASSERT_EQUAL_FATAL(listen(fd, 1), 0);
	/* Somebody who listens and says nothing. */
	CU_ASSERT_FALSE(wireguard_socket(directory, "wt0", 50, prefixes, &silent));
	CU_ASSERT_TRUE(silent && silent->code == EX_IOERR && strstr(silent->message, "no whole answer in time"));
	close(fd);
	unlink(path);
	rmdir(directory);
}

/* ---- the kernel's netlink ---- */

static void
put_allowed(struct nlmsghdr *message, const char *text, uint8_t length)
{
	const bool v6 = strchr(text, ':');
	struct nlattr *one = mnl_attr_nest_start(message, 0);
	uint8_t address[16];

	inet_pton(v6 ? AF_INET6 : AF_INET, text, address);
	mnl_attr_put_u16(message, WGALLOWEDIP_A_FAMILY, v6 ? AF_INET6 : AF_INET);
	mnl_attr_put(message, WGALLOWEDIP_A_IPADDR, v6 ? 16 : 4, address);
	mnl_attr_put_u8(message, WGALLOWEDIP_A_CIDR_MASK, length);
	mnl_attr_nest_end(message, one);
}

static struct nlattr *
put_peer(struct nlmsghdr *message, uint8_t first, size_t size)
{
	uint8_t key[64] = { first };
	struct nlattr *peer = mnl_attr_nest_start(message, 0);

	mnl_attr_put(message, WGPEER_A_PUBLIC_KEY, size, key);
	mnl_attr_put_u32(message, WGPEER_A_FLAGS, 0);
	return peer;
}

/* The device's head, which comes in the first message only, and the list of peers. */
static struct nlattr *
put_device(struct nlmsghdr *message, bool head)
{
	const struct genlmsghdr device = { .cmd = WG_CMD_GET_DEVICE, .version = 1 };
	const uint8_t key[32] = { 0xee };

	message->nlmsg_type = 30;
	memcpy(mnl_nlmsg_put_extra_header(message, sizeof device), &device, sizeof device);
	if (head) {
		mnl_attr_put_u16(message, WGDEVICE_A_LISTEN_PORT, 51820);
		mnl_attr_put(message, WGDEVICE_A_PRIVATE_KEY, sizeof key, key);
		mnl_attr_put_strz(message, WGDEVICE_A_IFNAME, "wt0");
	}
	return mnl_attr_nest_start(message, WGDEVICE_A_PEERS);
}

static void
test_netlink(void)
{
	uint8_t octets[4096] __attribute__((aligned(8)));
	g_autoptr(GArray) prefixes = array();

	struct nlmsghdr *message = mnl_nlmsg_put_header(octets);
	struct nlattr *peers = put_device(message, true);
	struct nlattr *peer = put_peer(message, 1, 32);
	struct nlattr *allowed = mnl_attr_nest_start(message, WGPEER_A_ALLOWEDIPS);
	put_allowed(message, "100.90.0.2", 32);
	put_allowed(message, "fd12:3456:789a:1::2", 128);
	mnl_attr_nest_end(message, allowed);
	mnl_attr_nest_end(message, peer);
	mnl_attr_nest_end(message, peers);
	wireguard_read(message, prefixes);
	/* The same peer goes on in the next message. */
	message = mnl_nlmsg_put_header(octets);
	peers = put_device(message, false);
	peer = put_peer(message, 1, 32);
	allowed = mnl_attr_nest_start(message, WGPEER_A_ALLOWEDIPS);
	put_allowed(message, "10.30.0.0", 24);
	mnl_attr_nest_end(message, allowed);
	mnl_attr_nest_end(message, peer);
	peer = put_peer(message, 0xa1, 32);
	allowed = mnl_attr_nest_start(message, WGPEER_A_ALLOWEDIPS);
	put_allowed(message, "10.40.7.9", 16);
	put_allowed(message, "::", 0);
	put_allowed(message, "10.0.0.0", 33);
	mnl_attr_nest_end(message, allowed);
	mnl_attr_nest_end(message, peer);
	peer = put_peer(message, 3, 31);
	mnl_attr_nest_end(message, peer);
	mnl_attr_nest_end(message, peers);
	wireguard_read(message, prefixes);
	g_autofree char *shown = show(prefixes);
	CU_ASSERT_STRING_EQUAL(shown, EXPECTED);
}

/* What is no WireGuard is not asked. */
static void
test_no_kernel(void)
{
	g_autoptr(GArray) prefixes = array();
	g_autoptr(GError) error = NULL;

	CU_ASSERT_FALSE(wireguard_allowed("lo", prefixes, &error));
	CU_ASSERT_TRUE(error && error->code == EX_UNAVAILABLE);
	CU_ASSERT_STRING_EQUAL(error->message, "lo is not the kernel's WireGuard");
	CU_ASSERT_EQUAL(prefixes->len, 0);
}

/* ---- what it means ---- */

static void
test_roster(void)
{
	g_autoptr(GArray) prefixes = array();
	struct roster_prefix expected[2];

	wireguard_parse(answer, strlen(answer), prefixes, NULL);
	g_autoptr(roster_t) roster = wireguard_roster(prefixes);
	CU_ASSERT_EQUAL_FATAL(roster->route->len, 2);
	roster_prefix_parse("100.90.0.2", &expected[0]);
	static const char *const behind[] = { "fd12:3456:789a:1::2", "10.30.0.0/24" };
	for (unsigned i = 0; i < 2; i++) {
		const struct roster_route *route = &g_array_index(roster->route, struct roster_route, i);
		roster_prefix_parse(behind[i], &expected[1]);
		CU_ASSERT_EQUAL(memcmp(&route->gateway, &expected[0], sizeof expected[0]), 0);
		CU_ASSERT_EQUAL(memcmp(&route->prefix, &expected[1], sizeof expected[1]), 0);
	}
	g_autoptr(GArray) none = array();
	g_autoptr(roster_t) empty = wireguard_roster(none);
	CU_ASSERT_EQUAL(empty->route->len, 0);
}

static CU_TestInfo tests[] = {
	{ "text", test_text },
	{ "text refused", test_text_refused },
	{ "socket", test_socket },
	{ "no socket", test_no_socket },
	{ "netlink", test_netlink },
	{ "no kernel", test_no_kernel },
	{ "roster", test_roster },
	CU_TEST_INFO_NULL,
};

int
main(void)
{
	return run_suite("wireguard", tests);
}
