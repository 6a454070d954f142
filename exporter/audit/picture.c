/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "audit/picture.h"

#include <string.h>

#include "audit/value.h"

enum { BOX_LINES = 4 };

/* What stands in a box; the first line is its name. */
struct box {
	GString *line[BOX_LINES];
	unsigned n_lines;
};

/* A path as boxes with arrows between them; arrow[i] stands behind box[i]. */
struct row {
	struct box *box;
	GString **arrow;
	size_t n_boxes;
	bool broken;                /* the last arrow leads nowhere */
};

static GString *
add_line(struct box *box, const char *text)
{
	GString *line = box->line[box->n_lines++] = g_string_new(NULL);

	value_visible(line, text, strlen(text));
	return line;
}

static void
fill_end(struct box *box, const char *name, const struct flow *flow, const union address *address, uint16_t port)
{
	add_line(box, name);
	value_endpoint(add_line(box, ""), flow, address, port);
}

static void
fill_router(struct box *box, const struct hop *hop, const struct trace_router *routers)
{
	const struct tuple before = tuple_before(&hop->flow), after = tuple_after(&hop->flow);
	GString *line;

	add_line(box, routers[hop->router].name);
	path_tuple(add_line(box, ""), &hop->flow, &before);
	if (!tuple_equal(&before, &after))
		path_tuple(add_line(box, ""), &hop->flow, &after);
	line = add_line(box, "");
	value_human(line, hop->flow.original.octets, "B");
	g_string_append(line, " there, ");
	value_human(line, hop->flow.reply.octets, "B");
	g_string_append(line, " back");
}

static bool
never_arrived(enum verdict verdict)
{
	return verdict == VERDICT_NOT_SEEN || verdict == VERDICT_NOT_RECORDED || verdict == VERDICT_AMBIGUOUS ||
	       verdict == VERDICT_LEFT || verdict == VERDICT_ELSEWHERE;
}

static void
fill_row(struct row *row, const struct trace_path *path, const struct trace_router *routers)
{
	const struct flow *first = &path->hop[0]->flow, *last = &path->hop[path->n_hops - 1]->flow;

	row->n_boxes = path->n_hops + 2;
	row->box = g_new0(struct box, row->n_boxes);
	row->arrow = g_new0(GString *, row->n_boxes);
	row->broken = never_arrived(path->verdict);
	fill_end(&row->box[0], path_initiator(path), first, &first->original.source, first->original.source_port);
	row->arrow[0] = g_string_new(NULL);
	for (size_t i = 0; i < path->n_hops; i++) {
		fill_router(&row->box[i + 1], path->hop[i], routers);
		row->arrow[i + 1] = g_string_new(NULL);
		if (i + 1 < path->n_hops)
			path_leg(row->arrow[i + 1], &path->leg[i]);
	}
	fill_end(&row->box[row->n_boxes - 1], path_responder(path), last, &last->reply.source, last->reply.source_port);
}

static void
clear_row(struct row *row)
{
	for (size_t i = 0; i < row->n_boxes; i++) {
		for (unsigned line = 0; line < row->box[i].n_lines; line++)
			g_string_free(row->box[i].line[line], TRUE);
		if (row->arrow[i])
			g_string_free(row->arrow[i], TRUE);
	}
	g_free(row->box);
	g_free(row->arrow);
}

/* graphviz */

static void
dot_text(GString *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			g_string_append_c(out, '\\');
		g_string_append_c(out, *text);
	}
}

static void
dot_box(GString *out, size_t path, size_t number, const struct box *box)
{
	g_string_append_printf(out, "    p%zu_%zu [label=\"", path, number);
	for (unsigned i = 0; i < box->n_lines; i++) {
		dot_text(out, box->line[i]->str);
		g_string_append(out, i + 1 < box->n_lines ? "\\n" : "");
	}
	g_string_append(out, "\"];\n");
}

static void
dot_path(GString *out, size_t number, const struct trace_path *path, const struct trace_router *routers)
{
	struct row row;

	fill_row(&row, path, routers);
	g_string_append_printf(out, "  subgraph cluster_%zu {\n    label=\"", number);
	dot_text(out, path->words);
	g_string_append(out, "\";\n");
	for (size_t i = 0; i < row.n_boxes; i++)
		dot_box(out, number, i, &row.box[i]);
	for (size_t i = 0; i + 1 < row.n_boxes; i++) {
		g_string_append_printf(out, "    p%zu_%zu -> p%zu_%zu [label=\"", number, i, number, i + 1);
		dot_text(out, row.arrow[i]->str);
		g_string_append_printf(out, "\"%s];\n", row.broken && i + 2 == row.n_boxes ? ", style=dashed" : "");
	}
	g_string_append(out, "  }\n");
	clear_row(&row);
}

void
picture_dot(GString *out, const struct trace_path *paths, size_t n_paths, const struct trace_router *routers)
{
	g_string_append(out, "digraph trace {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n"
	                "  edge [fontname=\"sans-serif\"];\n  graph [fontname=\"sans-serif\", labeljust=l];\n");
	for (size_t i = 0; i < n_paths; i++)
		dot_path(out, i, &paths[i], routers);
	g_string_append(out, "}\n");
}

/* SVG. No font can be measured here: a character of a monospaced one is taken to be so wide. */

enum {
	CHARACTER = 15,             /* in halves */
	LINE = 16,
	PAD = 10,
	ARROW = 60,                 /* at least */
	TITLE = 34,
	BOX_HEIGHT = BOX_LINES * LINE + PAD,
	ROW = TITLE + BOX_HEIGHT + 30,
	MARGIN = 20,
};

static unsigned
text_width(const GString *text)
{
	return (unsigned)g_utf8_strlen(text->str, -1) * CHARACTER / 2;
}

static unsigned
box_width(const struct box *box)
{
	unsigned width = 0;

	for (unsigned i = 0; i < box->n_lines; i++)
		width = MAX(width, text_width(box->line[i]));
	return width + 2 * PAD;
}

static unsigned
arrow_width(const GString *arrow)
{
	return MAX((unsigned)ARROW, text_width(arrow) + 2 * PAD);
}

static unsigned
row_width(const struct row *row, const char *title)
{
	unsigned width = 0;

	for (size_t i = 0; i < row->n_boxes; i++)
		width += box_width(&row->box[i]) + (row->arrow[i] ? arrow_width(row->arrow[i]) : 0);
	return MAX(width, (unsigned)g_utf8_strlen(title, -1) * CHARACTER / 2) + 2 * MARGIN;
}

static void
svg_text(GString *out, unsigned x, unsigned y, const char *class, const char *text)
{
	g_autofree char *escaped = g_markup_escape_text(text, -1);

	g_string_append_printf(out, "<text x=\"%u\" y=\"%u\" class=\"%s\">%s</text>\n", x, y, class, escaped);
}

static void
svg_box(GString *out, unsigned x, unsigned y, const struct box *box)
{
	g_string_append_printf(out, "<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" rx=\"4\"/>\n", x, y,
	                       box_width(box), BOX_HEIGHT);
	for (unsigned i = 0; i < box->n_lines; i++)
		svg_text(out, x + PAD, y + (i + 1) * LINE, i ? "line" : "name", box->line[i]->str);
}

static void
svg_arrow(GString *out, unsigned x, unsigned y, const GString *text, bool broken)
{
	const unsigned width = arrow_width(text);

	g_string_append_printf(out, "<line x1=\"%u\" y1=\"%u\" x2=\"%u\" y2=\"%u\"%s marker-end=\"url(#end)\"/>\n",
	                       x, y, x + width - 6, y, broken ? " stroke-dasharray=\"4 4\"" : "");
	if (text->len)
		svg_text(out, x + PAD, y - 6, "loss", text->str);
}

static char *
title_of(const struct trace_path *path)
{
	g_autoptr(GString) title = g_string_new(NULL);
	g_autoptr(GString) visible = g_string_new(NULL);

	value_local_time(title, path->hop[0]->flow.start);
	g_string_append_printf(title, ": %s", path->words);
	value_visible(visible, title->str, title->len);
	return g_string_free(g_steal_pointer(&visible), FALSE);
}

/* Returns how wide it is. */
static unsigned
svg_path(GString *out, unsigned top, const struct trace_path *path, const struct trace_router *routers)
{
	g_autofree char *title = title_of(path);
	unsigned x = MARGIN;
	struct row row;

	fill_row(&row, path, routers);
	svg_text(out, x, top + LINE, "name", title);
	for (size_t i = 0; i < row.n_boxes; i++) {
		svg_box(out, x, top + TITLE, &row.box[i]);
		x += box_width(&row.box[i]);
		if (!row.arrow[i])
			continue;
		svg_arrow(out, x, top + TITLE + BOX_HEIGHT / 2, row.arrow[i], row.broken && i + 2 == row.n_boxes);
		x += arrow_width(row.arrow[i]);
	}
	const unsigned width = row_width(&row, title);
	clear_row(&row);
	return width;
}

void
picture_svg(GString *out, const struct trace_path *paths, size_t n_paths, const struct trace_router *routers)
{
	g_autoptr(GString) body = g_string_new(NULL);
	unsigned width = 2 * MARGIN;

	for (size_t i = 0; i < n_paths; i++) {
		const unsigned wide = svg_path(body, (unsigned)i * ROW, &paths[i], routers);
		width = MAX(width, wide);
	}
	g_string_append_printf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	                       "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%zu\">\n"
	                       "<style>text { font: 12px monospace; fill: #222 } .name { font-weight: bold } "
	                       ".loss { fill: #b00 } rect { fill: #f4f6f8; stroke: #456 } "
	                       "line { stroke: #456 }</style>\n"
	                       "<defs><marker id=\"end\" viewBox=\"0 0 8 8\" refX=\"2\" refY=\"4\" markerWidth=\"8\" "
	                       "markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#456\"/></marker>"
	                       "</defs>\n",
	                       width, n_paths * ROW + MARGIN);
	g_string_append(out, "<rect width=\"100%\" height=\"100%\" style=\"fill: #fff; stroke: none\"/>\n");
	g_string_append_len(out, body->str, (gssize)body->len);
	g_string_append(out, "</svg>\n");
}
