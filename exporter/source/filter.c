/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/filter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <string.h>

#include "error.h"

typedef struct nfct_filter nfct_filter_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(nfct_filter_t, nfct_filter_destroy)

/* The n leading bits of word i (0 to 3) of an address whose prefix has length bits, as a number. */
static uint32_t
mask_word(unsigned length, unsigned i)
{
	const unsigned bits = length > 32 * i ? MIN(length - 32 * i, 32) : 0;

	return bits ? UINT32_MAX << (32 - bits) : 0;
}

static void
add_prefix(struct nfct_filter *filter, const struct source_prefix *prefix)
{
	if (prefix->family == 4) {
		struct nfct_filter_ipv4 v4 = { ntohl(prefix->address.word[0]), mask_word(prefix->length, 0) };
		nfct_filter_add_attr(filter, NFCT_FILTER_SRC_IPV4, &v4);
		return;
	}
	struct nfct_filter_ipv6 v6;
	for (unsigned i = 0; i < 4; i++) {
		v6.addr[i] = ntohl(prefix->address.word[i]);
		v6.mask[i] = mask_word(prefix->length, i);
	}
	nfct_filter_add_attr(filter, NFCT_FILTER_SRC_IPV6, &v6);
}

static void
fill(struct nfct_filter *to, const struct source_filter *from)
{
	for (size_t i = 0; i < from->n_protocol; i++)
		nfct_filter_add_attr_u32(to, NFCT_FILTER_L4PROTO, from->protocol[i]);
	for (size_t i = 0; i < from->n_mark; i++) {
		struct nfct_filter_dump_mark mark = { from->mark[i].value, from->mark[i].mask };
		nfct_filter_add_attr(to, NFCT_FILTER_MARK, &mark);
	}
	for (size_t i = 0; i < from->n_ignore; i++)
		add_prefix(to, &from->ignore[i]);
	nfct_filter_set_logic(to, NFCT_FILTER_SRC_IPV4, NFCT_FILTER_LOGIC_NEGATIVE);
	nfct_filter_set_logic(to, NFCT_FILTER_SRC_IPV6, NFCT_FILTER_LOGIC_NEGATIVE);
}

/* The library builds its program in a fixed space and trusts that what it was given fits. */
enum { PROTOCOLS_MOST = 32, MARKS_MOST = 32, PREFIXES_MOST = 16 };

bool
filter_attach(int fd, const struct source_filter *filter, GError **error)
{
	if (filter->n_protocol > PROTOCOLS_MOST || filter->n_mark > MARKS_MOST || filter->n_ignore > PREFIXES_MOST) {
		g_set_error(error, PEERFLOW_ERROR, EX_CONFIG,
		            "[conntrack]: at most %d protocols, %d marks and %d prefixes to ignore fit the kernel's filter",
		            PROTOCOLS_MOST, MARKS_MOST, PREFIXES_MOST);
		return false;
	}
	if (!filter->n_protocol && !filter->n_mark && !filter->n_ignore) {
		nfct_filter_detach(fd);
		return true;
	}
	g_autoptr(nfct_filter_t) built = nfct_filter_create();
	if (built)
		fill(built, filter);
	if (built && nfct_filter_attach(fd, built) == 0)
		return true;
	g_set_error(error, PEERFLOW_ERROR, EX_OSERR, "[conntrack]: the kernel does not take the filter: %s",
	            g_strerror(errno));
	return false;
}

static bool
in_prefix(const union address *address, const struct source_prefix *prefix)
{
	for (unsigned i = 0; i < 4; i++)
		if ((address->word[i] ^ prefix->address.word[i]) & htonl(mask_word(prefix->length, i)))
			return false;
	return true;
}

bool
filter_passes(const struct source_filter *filter, const struct flow *flow)
{
	bool protocol = !filter->n_protocol, mark = !filter->n_mark;

	for (size_t i = 0; i < filter->n_protocol; i++)
		protocol = protocol || filter->protocol[i] == flow->protocol;
	for (size_t i = 0; i < filter->n_mark; i++)
		mark = mark || (flow->mark & filter->mark[i].mask) == filter->mark[i].value;
	for (size_t i = 0; i < filter->n_ignore; i++)
		if (filter->ignore[i].family == flow->family && in_prefix(&flow->original.source, &filter->ignore[i]))
			return false;
	return protocol && mark;
}
