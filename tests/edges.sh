#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The rules of the house that no compiler checks. edges.sh TREE: whether TREE keeps them; edges.sh --red TREE: whether
# each rule catches a copy of TREE that breaks it.

stages="source flows enrich encode transport archive audit"

# A rule prints the lines, or the files, that break it.

# A library has one home, so that it can be replaced there and need be known only there.
library_leaves_home()
{
	grep -rnE "^ *# *include *[<\"]($1)" --include='*.[ch]' exporter | grep -v "^exporter/$2/"
}

netfilter_leaves_source()
{
	library_leaves_home 'libmnl/|libnfnetlink/|libnetfilter_conntrack/' source
}

fixbuf_leaves_archive()
{
	library_leaves_home 'fixbuf/' archive
}

zstd_leaves_archive()
{
	library_leaves_home 'zstd' archive
}

openssl_leaves_archive()
{
	library_leaves_home 'openssl/' archive
}

gio_leaves_transport()
{
	library_leaves_home 'gio/' transport
}

json_leaves_enrich()
{
	library_leaves_home 'jansson|curl/' enrich | grep -vE '^exporter/(status|archive/import)\.c:.*jansson'
}

# The files right in exporter/ tie the stages together; a stage knows none of the others.
stage_knows_neighbour()
{
	for stage in $stages; do
		[ -d "exporter/$stage" ] || continue
		others=$(echo "$stages" | tr ' ' '\n' | grep -vx "$stage" | paste -sd '|')
		grep -rnE "^ *# *include *[<\"]([^>\"]*/)?($others)/" --include='*.[ch]' "exporter/$stage"
	done
}

# The list above is complete.
stage_has_no_rule()
{
	for folder in exporter/*/; do
		case " $stages " in
		*" $(basename "$folder") "*) ;;
		*) echo "$folder" ;;
		esac
	done
}

own_files()
{
	find . \( -name '.?*' ! -name .ci -o -name 'build*' -type d -o -name __pycache__ -o -path ./tests/corpus \) \
		-prune -o -type f ! -name LICENSE "$@"
}

licence_is_missing()
{
	own_files ! -name '*.md' -exec grep -L 'SPDX-License-Identifier: GPL-3.0-or-later' {} +
}

# Unfinished work has no place in the tree. The brackets keep this file out of its own net.
work_is_unfinished()
{
	own_files -exec grep -nHE '\<(TO[D]O|FIX[M]E|XX[X])\>' {} +
}

rules="netfilter_leaves_source fixbuf_leaves_archive zstd_leaves_archive openssl_leaves_archive
       gio_leaves_transport json_leaves_enrich stage_knows_neighbour stage_has_no_rule licence_is_missing work_is_unfinished"

# Names each rule that is broken, with what breaks it.
check()
{
	cd "$1" || return 2
	broken=0
	for rule in $rules; do
		found=$($rule)
		[ -n "$found" ] || continue
		printf '%s:\n%s\n' "$rule" "$found"
		broken=1
	done
	return $broken
}

# file|line put into it, without the @|the one rule it breaks
offences='exporter/flows/x.c|#include <libmnl/libmnl.h>|netfilter_leaves_source
exporter/x.c|#  include <libnetfilter_conntrack/libnetfilter_conntrack.h>|netfilter_leaves_source
exporter/encode/x.h|#include "libnfnetlink/libnfnetlink.h"|netfilter_leaves_source
exporter/encode/x.c|#include <fixbuf/public.h>|fixbuf_leaves_archive
exporter/x.c|#include <zstd.h>|zstd_leaves_archive
exporter/audit/x.c|#include <openssl/evp.h>|openssl_leaves_archive
exporter/source/x.c|#include <gio/gio.h>|gio_leaves_transport
exporter/source/x.c|#include <jansson.h>|json_leaves_enrich
exporter/x.c|#include <jansson.h>|json_leaves_enrich
exporter/archive/x.c|#include <jansson.h>|json_leaves_enrich
exporter/archive/import.c|#include <curl/curl.h>|json_leaves_enrich
exporter/x.c|#include <curl/curl.h>|json_leaves_enrich
exporter/encode/x.c|#include "transport/link.h"|stage_knows_neighbour
exporter/audit/x.c|#include "../archive/reader.h"|stage_knows_neighbour
exporter/common/x.c||stage_has_no_rule
exporter/x.c|no licence|licence_is_missing
packaging/x|no licence|licence_is_missing
exporter/x.c|/* TO@DO */|work_is_unfinished
x.md|FIX@ME|work_is_unfinished'

# The rules that a tree with this line in this file breaks.
broken_by()
{
	mkdir -p "$copy/$(dirname "$1")"
	{
		[ "$2" = "no licence" ] || echo "/* SPDX-License-Identifier: GPL-3.0-or-later */"
		echo "$2" | tr -d @
	} >"$copy/$1"
	(check "$copy") | sed -n 's/^\([a-z_]*\):$/\1/p'
	rm "$copy/$1"
	rmdir "$copy/$(dirname "$1")" 2>/dev/null
}

check_red()
{
	copy=$(mktemp -d) || return 2
	trap 'rm -rf "$copy"' EXIT
	(cd "$1" && tar -c --exclude='./build*' --exclude=./.git .) | tar -x -C "$copy"
	echo "$offences" | {
		wrong=0
		while IFS='|' read -r file line rule; do
			found=$(broken_by "$file" "$line" | paste -sd ' ')
			[ "$found" = "$rule" ] && continue
			echo "$file with '$line': breaks '$found', not '$rule'"
			wrong=1
		done
		return $wrong
	}
}

if [ "$1" = --red ]; then
	check_red "$2"
else
	check "$1"
fi
