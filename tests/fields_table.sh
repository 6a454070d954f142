#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The table of fields in templates/README.md says what fields.def and the templates say. fields_table.sh TREE compares;
# fields_table.sh --print TREE prints the rows with the meanings that README.md has for them, for pasting.

# name|element|octets|templates that have it|shipped files that list it, a line for each row of fields.def.
from_code()
{
	sed -n '/^FIELD(/,/)$/p' fields.def | tr -d '\n\t ' | sed 's/FIELD(/\n/g; s/)//g' | awk -F, '
		BEGIN {
			prefix["IANA"] = ""; prefix["REVERSE"] = "29305/"
			prefix["OWN"] = "own/"; prefix["NETFLOW9"] = "v9/"
			word["ANY"] = "all"; word["V4"] = "ipv4"; word["V6"] = "ipv6"; word["NAT"] = "nat"
			word["PORTS"] = "not icmp"; word["ICMP"] = "icmp"
			word["BIFLOW"] = "biflow"; word["UNIFLOW"] = "not biflow"
		}
		NF > 7 {
			n = split($7, only, "|")
			kinds = word[only[1]]
			for (i = 2; i <= n; i++)
				kinds = kinds " " word[only[i]]
			print $1 "|" prefix[$3] $2 "|" ($4 == "VARIABLE" ? "variable" : $4) "|" kinds
		}' | while IFS= read -r row; do
			printf '%s|' "$row"
			grep -lx "${row%%|*}" ./*.template | sed 's/.*\///; s/\.template//' | paste -sd ' '
		done
}

# shellcheck disable=SC2016 # backquotes of Markdown
# The same from the table for people, without its last column, the meaning.
from_readme()
{
	sed -n 's/^| `\([A-Za-z0-9]*\)` *| /\1|/p' README.md | sed 's/ *| */|/g' | cut -d '|' -f 1-5
}

meaning()
{
	sed -n "s/^| \`$1\` .*| \([^|]*\) |\$/\1/p" README.md
}

print_rows()
{
	from_code | while IFS='|' read -r name element octets kinds files; do
		echo "| \`$name\` | $element | $octets | $kinds | $files | $(meaning "$name") |"
	done
}

[ "$1" = --print ] && show=yes && shift
cd "$1/templates" || exit 2
if [ "$show" ]; then
	print_rows
	exit
fi
code=$(mktemp) && readme=$(mktemp) || exit 2
trap 'rm -f "$code" "$readme"' EXIT
from_code >"$code"
from_readme >"$readme"
# A look at the table that finds nothing is not a table that agrees.
[ -s "$code" ] || { echo "no rows found in fields.def"; exit 1; }
if ! diff -u "$code" "$readme"; then
	echo "templates/README.md differs from fields.def and the templates (-);"
	echo "tests/fields_table.sh --print . has the rows"
	exit 1
fi
if grep -E '^\| `.*\|  *\|$' README.md; then
	echo "these have no meaning"
	exit 1
fi
