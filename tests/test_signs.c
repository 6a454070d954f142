/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What links and chains say of themselves, in messages made by hand; and this host's own. */

#include "source/signs.h"

#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "suite.h"

static uint8_t octets[1024] __attribute__((aligned(8)));

static struct nlmsghdr *
link_of(const char *kind)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(octets);
	const struct ifinfomsg link = { .ifi_index = 3 };

	memcpy(mnl_nlmsg_put_extra_header(message, sizeof link), &link, sizeof link);
	mnl_attr_put_strz(message, IFLA_IFNAME, "wt0");
	if (kind) {
		struct nlattr *info = mnl_attr_nest_start(message, IFLA_LINKINFO);
		mnl_attr_put_strz(message, IFLA_INFO_KIND, kind);
		mnl_attr_nest_end(message, info);
	}
	return message;
}

static struct nlmsghdr *
chain_of(const char *table, const char *name)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(octets);
	const struct nfgenmsg header = { .nfgen_family = 2 };

	memcpy(mnl_nlmsg_put_extra_header(message, sizeof header), &header, sizeof header);
	mnl_attr_put_strz(message, NFTA_CHAIN_TABLE, table);
	mnl_attr_put_strz(message, NFTA_CHAIN_NAME, name);
	return message;
}

/* ---- tests ---- */

static void
test_link(void)
{
	CU_ASSERT_EQUAL(signs_link(link_of("wireguard")), MESH_LINK_WIREGUARD);
	CU_ASSERT_EQUAL(signs_link(link_of("tun")), MESH_LINK_TUN);
	CU_ASSERT_EQUAL(signs_link(link_of("veth")), MESH_LINK_OTHER);
	CU_ASSERT_EQUAL(signs_link(link_of("tunnel")), MESH_LINK_OTHER);
	CU_ASSERT_EQUAL(signs_link(link_of(NULL)), MESH_LINK_OTHER);
	CU_ASSERT_EQUAL(signs_link(mnl_nlmsg_put_header(octets)), MESH_LINK_OTHER);
}

static void
test_chain(void)
{
	CU_ASSERT_TRUE(signs_chain(chain_of("netbird", "netbird-mangle-prerouting")));
	CU_ASSERT_TRUE(signs_chain(chain_of("netbird", "any")));
	CU_ASSERT_TRUE(signs_chain(chain_of("mangle", "NETBIRD-RT-PRE")));
	CU_ASSERT_FALSE(signs_chain(chain_of("mangle", "PREROUTING")));
	CU_ASSERT_FALSE(signs_chain(chain_of("netbird2", "NETBIRD")));
	CU_ASSERT_FALSE(signs_chain(chain_of("filter", "netbird-like")));
	CU_ASSERT_FALSE(signs_chain(mnl_nlmsg_put_header(octets)));
}

static void
test_host(void)
{
	struct mesh_signs signs = { .client = true, .marks = true };

	signs_read("lo", &signs);
	CU_ASSERT_EQUAL(signs.link, MESH_LINK_OTHER);
	CU_ASSERT_TRUE(signs.client && signs.marks);
	signs_read("no-such-link", &signs);
	CU_ASSERT_EQUAL(signs.link, MESH_LINK_NONE);
	CU_ASSERT_TRUE(signs.rules <= MESH_YES);
}

static CU_TestInfo tests[] = {
	{ "link", test_link },
	{ "chain", test_chain },
	{ "host", test_host },
	CU_TEST_INFO_NULL,
};

int
main(void)
{
	return run_suite("signs", tests);
}
