/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "source/delivery.h"

#include <errno.h>
#include <glib-unix.h>
#include <sys/socket.h>

#include "source/fuse.h"
#include "source/meminfo.h"

enum {
	TICK = 1,                   /* seconds between two looks while the fuse is blown */
	CALM = 5,                   /* seconds without a loss before reliable delivery is taken up again */
	GUARDIAN_RETRY = 10,        /* seconds between two guardians */
	PENDING = 2,                /* seconds after a failed trial: the kernel tries again after one at the latest */
};

struct delivery {
	int fd;
	struct delivery_options options;
	struct delivery_handler handler;
	void *data;

	struct delivery_status status;
	uint64_t *sound_until;
	bool overrun;               /* something did not fit since the socket was last empty */
	bool emptied;               /* at the last reading */
	uint32_t counted;           /* of the socket's drops, when delivery is plain */
	int64_t restless_at;        /* monotonic microseconds: something did not fit, or the fuse blew */

	struct fuse *fuse;          /* NULL: there is no guardian */
	guint watch;
	guint timer;
	int64_t guardian_at;        /* monotonic microseconds, of the last try to have one */
};

static uint64_t
now_ms(void)
{
	return g_get_real_time() / 1000;
}

static void
tell(const struct delivery *delivery, enum gap_kind kind, uint64_t first, uint64_t flows, bool unknown)
{
	const uint64_t last = now_ms();
	const struct gap gap = { .kind = kind, .first = MIN(first, last), .last = last, .flows = flows,
	                         .unknown = unknown };

	if (delivery->handler.gap)
		delivery->handler.gap(&gap, delivery->data);
}

static void
set_mode(struct delivery *delivery, enum delivery_mode mode)
{
	delivery->status.mode = mode;
	delivery->status.since = now_ms();
}

/* What did not fit since the last count is lost, for delivery is plain. */
static uint32_t
take_losses(struct delivery *delivery)
{
	const uint32_t drops = meminfo_drops(delivery->fd), lost = drops - delivery->counted;

	if (!lost)
		return 0;
	delivery->counted = drops;
	meminfo_set_counted(delivery->fd, drops);
	delivery->status.lost += lost;
	delivery->restless_at = g_get_monotonic_time();
	delivery->handler.lost(delivery->data);
	return lost;
}

/* A complaint without a number means that the kernel had no memory for the message; but after the fuse has blown it may
 * be an old one, of what came later. */
static void
count_losses(struct delivery *delivery, bool complaint)
{
	const bool blown = delivery->status.mode == DELIVERY_BLOWN;
	const uint32_t lost = take_losses(delivery);

	if (!lost && (!complaint || blown))
		return;
	if (blown)
		tell(delivery, GAP_FUSE, delivery->status.since, lost, false);
	else
		tell(delivery, GAP_OVERRUN, *delivery->sound_until, lost, !lost);
	*delivery->sound_until = now_ms();
}

void
delivery_note(struct delivery *delivery, bool overrun, bool empty)
{
	if (delivery->fuse)
		fuse_note_read(delivery->fuse);
	delivery->overrun |= overrun;
	delivery->emptied = empty;
	if (!delivery->overrun) {
		*delivery->sound_until = now_ms();
		return;
	}
	if (!empty)
		return;
	delivery->overrun = false;
	if (delivery->status.mode != DELIVERY_RELIABLE) {
		count_losses(delivery, true);
		return;
	}
	delivery->status.postponed++;
	delivery->restless_at = g_get_monotonic_time();
}

/* The fuse. */

static gboolean
on_tick(gpointer data);

static gboolean
on_fuse(gint fd, GIOCondition condition, gpointer data);

static void
start_timer(struct delivery *delivery)
{
	if (!delivery->timer)
		delivery->timer = g_timeout_add_seconds(TICK, on_tick, delivery);
}

static void
stop_timer(struct delivery *delivery)
{
	if (delivery->timer)
		g_source_remove(delivery->timer);
	delivery->timer = 0;
}

static void
dismiss_guardian(struct delivery *delivery)
{
	if (delivery->watch)
		g_source_remove(delivery->watch);
	delivery->watch = 0;
	fuse_stop(g_steal_pointer(&delivery->fuse));
}

static bool
have_guardian(struct delivery *delivery)
{
	if (delivery->fuse)
		return true;
	delivery->guardian_at = g_get_monotonic_time();
	delivery->fuse = fuse_start(delivery->fd, delivery->options.fuse);
	if (!delivery->fuse)
		return false;
	delivery->watch = g_unix_fd_add(fuse_fd(delivery->fuse), G_IO_IN, on_fuse, delivery);
	return true;
}

static const char *
reason_of(const struct fuse_word *word)
{
	switch (word->verdict) {
	case FUSE_FULL:
		return "the connection tracking table is filling up";
	case FUSE_STUCK:
		return "peerflowd did not read for half a minute";
	default:
		return "nobody guards the connection tracking table";
	}
}

/* Plain from now on, until all is calm. */
static void
give_up(struct delivery *delivery, const struct fuse_word *word)
{
	g_warning("flow ends are delivered plainly until further notice, and some may be lost: %s (%u of %u entries)",
	          reason_of(word), word->count, word->max);
	set_mode(delivery, DELIVERY_BLOWN);
	delivery->status.since = word->at;
	delivery->status.blown++;
	delivery->counted = word->drops;
	delivery->restless_at = g_get_monotonic_time();
	tell(delivery, GAP_FUSE, word->at, take_losses(delivery), !word->exact);
	start_timer(delivery);
}

/* What a guardian that is gone did not do. */
static void
switch_off(struct delivery *delivery, struct fuse_word *word)
{
	struct fuse_look look = { 0 };
	const uint32_t before = meminfo_drops(delivery->fd);

	fuse_look_at_table(&look);
	meminfo_set_reliable(delivery->fd, false);
	*word = (struct fuse_word){ FUSE_GONE, now_ms(), look.count, look.max, meminfo_drops(delivery->fd), false };
	word->exact = word->drops == before;
	meminfo_set_counted(delivery->fd, word->drops);
}

static gboolean
on_fuse(gint fd, GIOCondition condition, gpointer data)
{
	struct delivery *delivery = data;
	struct fuse_word word;
	(void)fd, (void)condition;

	if (!fuse_read(delivery->fuse, &word))
		return G_SOURCE_CONTINUE;
	const bool gone = word.verdict == FUSE_GONE;
	if (gone) {
		dismiss_guardian(delivery);
		if (delivery->status.mode == DELIVERY_RELIABLE)
			switch_off(delivery, &word);
	}
	if (delivery->status.mode == DELIVERY_RELIABLE)
		give_up(delivery, &word);
	return !gone;
}

static bool
is_calm(const struct delivery *delivery)
{
	struct fuse_look look;

	return delivery->emptied && !delivery->overrun
	       && g_get_monotonic_time() - delivery->restless_at >= CALM * G_USEC_PER_SEC
	       && fuse_look_at_table(&look) && fuse_may_return(&look, delivery->options.fuse);
}

/* Whatever is counted between the last count and the moment it is switched on is lost, or will come: nobody knows. */
static bool
take_up(struct delivery *delivery)
{
	fuse_arm(delivery->fuse, delivery->options.fuse);
	if (!meminfo_set_reliable(delivery->fd, true))
		return false;
	if (delivery->status.mode == DELIVERY_BLOWN)
		tell(delivery, GAP_FUSE, delivery->status.since, 0, meminfo_drops(delivery->fd) != delivery->counted);
	set_mode(delivery, DELIVERY_RELIABLE);
	return true;
}

static gboolean
on_tick(gpointer data)
{
	struct delivery *delivery = data;

	count_losses(delivery, false);
	if (!delivery->fuse
	    && g_get_monotonic_time() - delivery->guardian_at >= GUARDIAN_RETRY * G_USEC_PER_SEC)
		have_guardian(delivery);
	if (!delivery->fuse || !is_calm(delivery) || !take_up(delivery))
		return G_SOURCE_CONTINUE;
	g_message("flow ends are delivered reliably again");
	delivery->timer = 0;
	return G_SOURCE_REMOVE;
}

/* Opening, changing and closing. */

static void
start(struct delivery *delivery)
{
	if (have_guardian(delivery) && take_up(delivery))
		return;
	struct fuse_word word;
	switch_off(delivery, &word);
	give_up(delivery, &word);
}

/* What a socket that was not ours lost while its delivery was plain. */
static void
account_for_former(struct delivery *delivery)
{
	if (meminfo_is_reliable(delivery->fd))
		return;
	delivery->counted = meminfo_counted(delivery->fd);
	count_losses(delivery, false);
}

struct delivery *
delivery_open(int fd, bool stored, const struct delivery_options *options, uint64_t *sound_until,
              const struct delivery_handler *handler, void *data)
{
	struct delivery *delivery = g_new0(struct delivery, 1);

	delivery->fd = fd;
	delivery->options = *options;
	delivery->handler = *handler;
	delivery->data = data;
	delivery->sound_until = sound_until;
	if (!stored || !*sound_until)
		*sound_until = now_ms();
	set_mode(delivery, DELIVERY_PLAIN);
	if (stored)
		account_for_former(delivery);
	if (options->reliable)
		start(delivery);
	else
		delivery_leave(delivery);
	return delivery;
}

void
delivery_change(struct delivery *delivery, const struct delivery_options *options)
{
	const bool was_reliable = delivery->options.reliable;

	delivery->options = *options;
	if (was_reliable && !options->reliable)
		delivery_leave(delivery);
	else if (!was_reliable && options->reliable)
		start(delivery);
	else if (delivery->status.mode == DELIVERY_RELIABLE)
		fuse_arm(delivery->fuse, options->fuse);
}

void
delivery_note_stored(struct delivery *delivery, bool stored)
{
	if (delivery->fuse)
		fuse_note_stored(delivery->fuse, stored);
}

bool
delivery_is_pending(const struct delivery *delivery)
{
	return delivery->status.mode == DELIVERY_RELIABLE
	       && (delivery->overrun || (delivery->status.postponed
	                                 && g_get_monotonic_time() - delivery->restless_at < PENDING * G_USEC_PER_SEC));
}

/* A guardian of this socket that another process left behind goes when it sees that the socket has no owner. */
void
delivery_leave(struct delivery *delivery)
{
	const int nobody = 0;

	stop_timer(delivery);
	if (delivery->status.mode != DELIVERY_BLOWN && meminfo_is_reliable(delivery->fd)) {
		meminfo_set_reliable(delivery->fd, false);
		delivery->counted = meminfo_drops(delivery->fd);
		meminfo_set_counted(delivery->fd, delivery->counted);
	}
	setsockopt(delivery->fd, SOL_SOCKET, SO_PRIORITY, &nobody, sizeof nobody);
	dismiss_guardian(delivery);
	if (delivery->status.mode != DELIVERY_PLAIN)
		set_mode(delivery, DELIVERY_PLAIN);
}

void
delivery_read_status(const struct delivery *delivery, struct delivery_status *status)
{
	*status = delivery->status;
}

void
delivery_close(struct delivery *delivery)
{
	if (!delivery)
		return;
	delivery_leave(delivery);
	g_free(delivery);
}
