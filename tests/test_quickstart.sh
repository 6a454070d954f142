#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# packaging/quickstart as a newcomer runs it: from a fresh copy of the tree, in a folder with spaces in its name, in a
# network namespace that has nothing. Needs root.
# shellcheck disable=SC2016 # commands for another shell

cd "$(dirname "$(readlink -f "$0")")/.." || exit 1
work=$(mktemp -d) || exit 1
tree="$work/a folder"
passed=0 failed=0

# ok WHAT COMMAND...
ok()
{
	local what=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
		echo "ok $what"
	else
		failed=$((failed + 1))
		echo "FAIL $what: $*"
		sed 's/^/# /' "$work/said"
	fi
}

# attempt STATUS COMMAND...: what it prints is in $work/said.
attempt()
{
	local expected=$1 status
	shift
	timeout 120 "$@" >"$work/said" 2>&1 </dev/null
	status=$?
	[ $status = "$expected" ] || echo "status $status, not $expected" >>"$work/said"
	[ $status = "$expected" ]
}

says()
{
	grep -qE -- "$1" "$work/said"
}

await()
{
	local i
	for i in {1..600}; do
		grep -qsE -- "$1" "$work/said" && return
		sleep 0.1
	done
	echo "# waited for: $1 ($i)" >>"$work/said"
	return 1
}

clean_up()
{
	[ -z "$quickstart" ] || kill "$quickstart" 2>/dev/null
	[ -z "$host" ] || kill "$host"
	wait 2>/dev/null
	rm -rf --one-file-system "$work"
}

# Programs that stand in for the real ones, and leave a note that they were asked.
impostor()
{
	printf '#!/bin/sh\necho "$0 $*" >>"%s/asked"\n%s\n' "$work" "$2" >"$work/bin/$1"
	chmod +x "$work/bin/$1"
}

settings()
{
	"${in_namespace[@]}" sh -c 'cd /proc/sys/net/netfilter &&
		paste -d " " nf_conntrack_acct nf_conntrack_timestamp nf_conntrack_events'
}

test_refusals()
{
	ok "--help ends well" attempt 0 packaging/quickstart --help
	ok "--help says how" says "Usage: sudo packaging/quickstart"
	ok "unknown argument" attempt 64 packaging/quickstart --dmeo
	ok "unknown argument is named" says '"--dmeo"'
	ok "--keep alone" attempt 64 packaging/quickstart --keep
	ok "not root" attempt 77 setpriv --reuid nobody --regid nogroup --clear-groups bash packaging/quickstart
	ok "not root: says what is needed" says "root is needed"
}

test_packages()
{
	impostor dpkg-query 'exit 1'
	impostor apt-get 'echo "E: Unable to fetch some archives"; exit 100'
	ok "no network for packages" attempt 69 env PATH="$work/bin:$PATH" packaging/quickstart
	ok "no network: apt's reason" says "^E: Unable to fetch"
	ok "no network: names packages" says "Could not install: gcc .*libfixbuf-dev"
	rm "$work/bin/dpkg-query" "$work/asked"
}

test_capability()
{
	ok "without CAP_NET_ADMIN" attempt 77 \
		"${in_namespace[@]}" setpriv --bounding-set -net_admin packaging/quickstart
	ok "without CAP_NET_ADMIN: says so" says "CAP_NET_ADMIN"
}

# One UDP datagram, and its end, which the kernel is asked for rather than waited for.
make_flow()
{
	"${in_namespace[@]}" sh -c 'echo 1 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout'
	"${in_namespace[@]}" bash -c 'echo hello >/dev/udp/192.0.2.5/7007' 2>/dev/null
	sleep 1.5
	"${in_namespace[@]}" conntrack -L >/dev/null 2>&1
}

test_plain()
{
	local before status
	before=$(settings)
	"${in_namespace[@]}" env PATH="$work/bin:$PATH" packaging/quickstart >"$work/said" 2>&1 </dev/null &
	quickstart=$!
	ok "waits for flows and says so" await "^Waiting for flows to end"
	ok "says how to make one" await "ping -c 1 192.0.2.5"
	ok "says that it switched tracking on" says "tracking was off here"
	ok "shows the head of the table" await "INITIATOR +RESPONDER"
	sleep 0.3
	make_flow
	ok "shows the flow that ended" await "udp +192.0.2.5:[0-9]+ +-> +192.0.2.5:7007 +34 B +1 "
	kill -TERM $quickstart
	wait $quickstart
	status=$?
	quickstart=
	ok "ends well" [ $status = 0 ]
	ok "put the settings back" [ "$(settings)" = "$before" ]
	ok "took its rule back" [ -z "$("${in_namespace[@]}" nft list tables)" ]
	left_nothing
	ok "asked for no package" [ ! -e "$work/asked" ]
}

left_nothing()
{
	ok "left no folder" [ -z "$(find "$TMPDIR" -mindepth 1)" ]
	ok "left no program" [ -z "$(find /proc/[0-9]*/exe -lname "$tree/*" 2>/dev/null)" ]
}

# At a terminal Ctrl-C reaches all programs at once.
test_interrupt()
{
	{
		await "INITIATOR +RESPONDER"
		sleep 0.5
		printf '\003'
		sleep 2
	} | timeout 60 script -qec "exec nsenter --net=/proc/$host/ns/net packaging/quickstart" /dev/null >"$work/said" 2>&1
	ok "Ctrl-C ends it well" [ "${PIPESTATUS[1]}" = 0 ]
	left_nothing
}

test_demo()
{
	ok "--demo ends well" attempt 0 env PATH="$work/bin:$PATH" packaging/quickstart --demo
	ok "--demo: the connection at router A" \
		says "router-a +10.20.0.20:40002 -> 10.30.0.30:5432 +sent 1908 B in 25, received 29.2 kB in 23"
	ok "--demo: the connection at router B" says "router-b +100.90.0.1:40002 -> 10.30.0.30:5432 +sent 1908 B"
	ok "--demo: who it was" says "web-a 10.20.0.20:40002 was translated to it"
	ok "--demo: names" says "^router A +udp +alice 100.90.0.7:40002 +web-a 10.20.0.20:514"
	ok "--demo: nothing was built again" says "^Two sites joined by a mesh"
	ok "--demo asked for no package" [ ! -e "$work/asked" ]
	left_nothing
}

trap clean_up EXIT
mkdir "$tree" "$work/bin" "$work/tmp"
export TMPDIR=$work/tmp
chmod 755 "$work"
tar -c --exclude='./build*' --exclude=./.git . | tar -x -C "$tree"
cd "$tree" || exit 1
unshare --net sleep infinity &
host=$!
in_namespace=(nsenter "--net=/proc/$host/ns/net")
until [ ! /proc/$host/ns/net -ef /proc/self/ns/net ]; do sleep 0.1; done
"${in_namespace[@]}" sh -c 'ip link set lo up; ip address add 192.0.2.5/32 dev lo'
for test in refusals packages plain interrupt capability demo; do
	test_$test
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
