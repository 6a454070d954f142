/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "config.h"

#include <inttypes.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "suite.h"

#define C "[collector a]\nhost = 192.0.2.1\n"
#define TEN "0123456789"
#define SIXTY_FOUR TEN TEN TEN TEN TEN TEN "0123"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

/* A text and what must come of it: the whole error if it starts with "f:", else a line of the printed result. */
#define URL_WANTED "not the URL of a server, https://NAME[:PORT][/PATH] (http:// only to this host itself), or none"

static const struct sample {
	const char *text;
	const char *result;
} samples[] = {
	/* [exporter] */
	{ "[exporter]\nobservation-domain-id = 1\n", "exporter domain 1 1" },
	{ "[exporter]\nobservation-domain-id = 4294967295\n", "exporter domain 1 4294967295" },
	{ "[exporter]\nobservation-domain-id = 100.64.0.1\n", "exporter domain 1 1681915905" },
	{ "[exporter]\nobservation-domain-id = auto\n", "exporter domain 0 0" },
	{ "[exporter]\nobservation-domain-id = 0\n", "f:2: [exporter] observation-domain-id = 0: not a number from 1 to "
	  "4294967295, an IPv4 address or auto" },
	{ "[exporter]\nobservation-domain-id = 4294967296\n", "f:2: [exporter] observation-domain-id = 4294967296: not a "
	  "number from 1 to 4294967295, an IPv4 address or auto" },
	{ "[exporter]\nobservation-domain-id = 0.0.0.0\n", "f:2: [exporter] observation-domain-id = 0.0.0.0: not a number "
	  "from 1 to 4294967295, an IPv4 address or auto" },
	{ "[exporter]\nobservation-domain-id = ::1\n", "f:2: [exporter] observation-domain-id = ::1: not a number from 1 "
	  "to 4294967295, an IPv4 address or auto" },
	{ "[exporter]\nobservation-domain-name = b\xc3\xbcro 2\n", "exporter name b\xc3\xbcro 2" },
	{ "[exporter]\nobservation-domain-name = auto\n", "exporter name (null)" },
	{ "[exporter]\nobservation-domain-name = " HUNDRED "\n", "f:2: [exporter] observation-domain-name = " TEN TEN
	  TEN TEN TEN TEN TEN TEN "\xe2\x80\xa6: not a name of at most 64 octets or auto" },
	{ "[exporter]\nenterprise-number = 1\n", "exporter enterprise 1" },
	{ "[exporter]\nenterprise-number = 32473\n", "exporter enterprise 32473" },
	{ "[exporter]\nenterprise-number = 4294967295\n", "exporter enterprise 4294967295" },
	{ "[exporter]\nenterprise-number = none\n", "exporter enterprise 0" },
	{ "[exporter]\nenterprise-number = 0\n", "f:2: [exporter] enterprise-number = 0: not an enterprise number that "
	  "IANA assigned, from 1 to 4294967295, or none" },
	{ "[exporter]\nenterprise-number = 4294967296\n", "f:2: [exporter] enterprise-number = 4294967296: not an "
	  "enterprise number that IANA assigned, from 1 to 4294967295, or none" },
	{ "[exporter]\nenterprise-number = -1\n", "f:2: [exporter] enterprise-number = -1: not an enterprise number that "
	  "IANA assigned, from 1 to 4294967295, or none" },
	{ "[exporter]\nenterprise-number = 29305\n", "f:2: [exporter] enterprise-number = 29305: means the reverse "
	  "direction (RFC 5103); write the number that IANA assigned to you or none" },
	{ "[exporter]\ntemplate-directory = /etc/peerflow/my templates\n",
	  "exporter template-directory /etc/peerflow/my templates" },
	{ "[exporter]\ntemplate-directory = templates\n", "f:2: [exporter] template-directory = templates: not an absolute "
	  "path or built-in" },
	{ "[exporter]\nruntime-directory = /tmp/run\n", "exporter runtime-directory /tmp/run" },
	{ "[exporter]\nruntime-directory = off\n", "exporter runtime-directory (null)" },
	{ "[exporter]\nruntime-directory = run\n", "f:2: [exporter] runtime-directory = run: not an absolute path or off" },
	{ "[exporter]\nstate-directory = /tmp/state\n", "exporter state-directory /tmp/state" },
	{ "[exporter]\nstate-directory = off\n", "exporter state-directory (null)" },
	{ "[exporter]\nstate-directory = lib\n", "f:2: [exporter] state-directory = lib: not an absolute path or off" },
	{ "[exporter]\nlive-socket = /tmp/live\n", "exporter live-socket /tmp/live" },
	{ "[exporter]\nlive-socket = off\n" C, "exporter live-socket (null)" },
	{ "[exporter]\nlive-socket = /" HUNDRED "012345\n", "exporter live-socket /" HUNDRED "012345" },
	{ "[exporter]\nlive-socket = /" HUNDRED "0123456\n", "f:2: [exporter] live-socket = /" TEN TEN TEN TEN TEN TEN TEN
	  "012345678…: too long; a path of at most 107 octets would be right" },
	{ "[exporter]\nlive-socket = on\n", "f:2: [exporter] live-socket = on: not an absolute path or off" },
	{ "[exporter]\nlive-socket = off\n", "exporter live-socket (null)" },
	{ "[exporter]\nlive-socket = off\nstate-directory = off\n", "f:2: [exporter] live-socket = off: nobody would see a "
	  "flow; a [collector NAME], a live-socket or an archive would be right" },
	{ "[exporter]\nlive-socket = off\n[archive]\nenabled = no\n", "f:2: [exporter] live-socket = off: nobody would see "
	  "a flow; a [collector NAME], a live-socket or an archive would be right" },

	/* [archive] */
	{ "[archive]\nenabled = no\n", "archive enabled 0" },
	{ "[archive]\nenabled = maybe\n", "f:2: [archive] enabled = maybe: not no or yes" },
	{ "[archive]\npath = /srv/flows\n", "archive path /srv/flows" },
	{ "[archive]\npath = auto\n[exporter]\nstate-directory = /s\n", "archive path /s/archive" },
	{ "[exporter]\nstate-directory = off\n", "archive path (null)" },
	{ "[exporter]\nstate-directory = off\n[archive]\npath = /srv/flows\n", "archive path /srv/flows" },
	{ "[archive]\npath = flows\n", "f:2: [archive] path = flows: not an absolute path or auto" },
	{ "[archive]\nrotate = 1h\n", "archive rotate 3600" },
	{ "[archive]\nrotate = 2d\n", "f:2: [archive] rotate = 2d: not a time in seconds (units s m h d) from 1s to 1d" },
	{ "[archive]\nrotate-size = 64G\n", "archive rotate-size 68719476736" },
	{ "[archive]\nrotate-size = 1K\n", "f:2: [archive] rotate-size = 1K: not a number of octets (units K M G) from 64K "
	  "to 64G" },
	{ "[archive]\nretain = 90d\n", "archive retain 7776000" },
	{ "[archive]\nretain = forever\n", "archive retain 0" },
	{ "[archive]\nretain = 0\n", "f:2: [archive] retain = 0: not a time in seconds (units s m h d) from 1s to 3650d or "
	  "forever" },
	{ "[archive]\nmax-size = 1048576G\n", "archive max-size 1125899906842624" },
	{ "[archive]\nmax-size = none\n", "archive max-size 0" },
	{ "[archive]\nmax-size = 1000K\n", "f:2: [archive] max-size = 1000K: not a number of octets (units K M G) from 1M "
	  "to 1048576G or none" },
	{ "[archive]\nsync = flow\n", "archive sync 0" },
	{ "[archive]\nsync = rotate\n", "archive sync 2" },
	{ "[archive]\nsync = never\n", "f:2: [archive] sync = never: not flow or second or rotate" },
	{ "[archive]\ncompress = columns\n", "archive compress 0" },
	{ "[archive]\ncompress = zstd\n", "archive compress 1" },
	{ "[archive]\ncompress = no\n", "f:2: [archive] compress = no: not columns or zstd" },

	{ "[exporter]\nstatus-socket = /tmp/status\n", "exporter status-socket /tmp/status" },
	{ "[exporter]\nstatus-socket = off\n", "exporter status-socket (null)" },
	{ "[exporter]\n", "exporter status-socket /run/peerflow/status" },
	{ "[exporter]\nstatus-socket = auto\nruntime-directory = /a/b\n", "exporter status-socket /a/b/status" },
	{ "[exporter]\nruntime-directory = off\n", "exporter status-socket (null)" },
	{ "[exporter]\nstatus-socket = status\n", "f:2: [exporter] status-socket = status: not an absolute path or auto or "
	  "off" },
	{ "[exporter]\nstatus-socket = /" HUNDRED "0123456\n", "f:2: [exporter] status-socket = /" TEN TEN TEN TEN TEN TEN
	  TEN "012345678…: too long; a path of at most 107 octets would be right" },

	/* [conntrack] */
	{ "[conntrack]\nreceive-buffer = 128K\n", "conntrack receive-buffer 131072" },
	{ "[conntrack]\nreceive-buffer = 131072\n", "conntrack receive-buffer 131072" },
	{ "[conntrack]\nreceive-buffer = 8m\n", "conntrack receive-buffer 8388608" },
	{ "[conntrack]\nreceive-buffer = 1G\n", "conntrack receive-buffer 1073741824" },
	{ "[conntrack]\nreceive-buffer = 131071\n", "f:2: [conntrack] receive-buffer = 131071: not a number of octets "
	  "(units K M G) from 128K to 1G" },
	{ "[conntrack]\nreceive-buffer = 1073741825\n", "f:2: [conntrack] receive-buffer = 1073741825: not a number of "
	  "octets (units K M G) from 128K to 1G" },
	{ "[conntrack]\nreceive-buffer = 18446744073709551615G\n", "f:2: [conntrack] receive-buffer = "
	  "18446744073709551615G: not a number of octets (units K M G) from 128K to 1G" },
	{ "[conntrack]\nreceive-buffer = 64 MiB\n", "f:2: [conntrack] receive-buffer = 64 MiB: not a number of octets "
	  "(units K M G) from 128K to 1G" },
	{ "[conntrack]\nreceive-buffer = M\n", "f:2: [conntrack] receive-buffer = M: not a number of octets (units K M G) "
	  "from 128K to 1G" },
	{ "[conntrack]\nactive-timeout = 5m\n", "conntrack active-timeout 300" },
	{ "[conntrack]\nactive-timeout = 1\n", "conntrack active-timeout 1" },
	{ "[conntrack]\nactive-timeout = 0\n", "f:2: [conntrack] active-timeout = 0: not a time in seconds (units s m h d) "
	  "from 1s to 1d" },
	{ "[conntrack]\nmax-long-flows = 0\n", "conntrack max-long-flows 0" },
	{ "[conntrack]\nmax-long-flows = 4194304\n", "conntrack max-long-flows 4194304" },
	{ "[conntrack]\nmax-long-flows = 4194305\n", "f:2: [conntrack] max-long-flows = 4194305: not a number from 0 to "
	  "4194304" },
	{ "[conntrack]\ncount-from = start\n", "conntrack count-from 1" },
	{ "[conntrack]\ncount-from = first-look\n", "conntrack count-from 0" },
	{ "[conntrack]\ncount-from = end\n", "f:2: [conntrack] count-from = end: not first-look or start" },
	{ "[conntrack]\nreap-share = 25%\n", "conntrack reap-share 25" },
	{ "[conntrack]\nreap-share = 0\n", "conntrack reap-share 0" },
	{ "[conntrack]\nreap-share = 100\n", "conntrack reap-share 100" },
	{ "[conntrack]\nreap-share = 101\n", "f:2: [conntrack] reap-share = 101: not a number of percent from 0% to 100%" },
	{ "[conntrack]\nreap-share = 1s\n", "f:2: [conntrack] reap-share = 1s: not a number of percent from 0% to 100%" },
	{ "[conntrack]\nflows = mesh\n", "conntrack flows 0" },
	{ "[conntrack]\nflows = all\n", "conntrack flows 1" },
	{ "[conntrack]\nflows = some\n", "f:2: [conntrack] flows = some: not mesh or all" },
	{ "[conntrack]\nreliable = no\n", "conntrack reliable 0" },
	{ "[conntrack]\nreliable = yes\n", "conntrack reliable 1" },
	{ "[conntrack]\nreliable = maybe\n", "f:2: [conntrack] reliable = maybe: not no or yes" },
	{ "[conntrack]\nfuse = 95%\n", "conntrack fuse 95" },
	{ "[conntrack]\nfuse = 10\n", "conntrack fuse 10" },
	{ "[conntrack]\nfuse = 9%\n", "f:2: [conntrack] fuse = 9%: not a number of percent from 10% to 95%" },
	{ "[conntrack]\nfuse = 96%\n", "f:2: [conntrack] fuse = 96%: not a number of percent from 10% to 95%" },
	{ "[conntrack]\nlabels = yes\n", "conntrack labels 1" },
	{ "[conntrack]\nlabels = no\n", "conntrack labels 0" },
	{ "[conntrack]\nlabels = true\n", "f:2: [conntrack] labels = true: not no or yes" },
	{ "[conntrack]\nignore = 0.0.0.0/0\n", "conntrack ignore 4:0.0.0.0/0" },
	{ "[conntrack]\nignore = 10.0.0.1\n", "conntrack ignore 4:10.0.0.1/32" },
	{ "[conntrack]\nignore = fd00::/8,10.128.0.0/9 2001:db8::1/128\n",
	  "conntrack ignore 6:fd00::/8 4:10.128.0.0/9 6:2001:db8::1/128" },
	{ "[conntrack]\nignore = none\n", "conntrack ignore" },
	{ "[conntrack]\nignore = 10.0.0.1/8\n", "f:2: [conntrack] ignore = 10.0.0.1/8: 10.0.0.1/8 has bits beyond its "
	  "length; 10.0.0.0/8 would be right" },
	{ "[conntrack]\nignore = 10.0.0.0/8, 192.0.2.255/23\n", "f:2: [conntrack] ignore = 10.0.0.0/8, 192.0.2.255/23: "
	  "192.0.2.255/23 has bits beyond its length; 192.0.2.0/23 would be right" },
	{ "[conntrack]\nignore = fe80::1/10\n", "f:2: [conntrack] ignore = fe80::1/10: fe80::1/10 has bits beyond its "
	  "length; fe80::/10 would be right" },
	{ "[conntrack]\nignore = 10.0.0.0/33\n", "f:2: [conntrack] ignore = 10.0.0.0/33: 10.0.0.0/33 is not a prefix such "
	  "as 10.0.0.0/8 or fd00::/8" },
	{ "[conntrack]\nignore = ::/129\n", "f:2: [conntrack] ignore = ::/129: ::/129 is not a prefix such as 10.0.0.0/8 "
	  "or fd00::/8" },
	{ "[conntrack]\nignore = 10.0.0.0/\n", "f:2: [conntrack] ignore = 10.0.0.0/: 10.0.0.0/ is not a prefix such as "
	  "10.0.0.0/8 or fd00::/8" },
	{ "[conntrack]\nignore = 10.0.0.0/8, 10.0.0.0/8\n", "f:2: [conntrack] ignore = 10.0.0.0/8, 10.0.0.0/8: 10.0.0.0/8 "
	  "stands twice; once would be right" },
	{ "[conntrack]\nignore = ,\n", "f:2: [conntrack] ignore = ,: not a list of prefixes or none" },
	{ "[conntrack]\nmarks = 0\n", "conntrack mark 0x0/0xffffffff" },
	{ "[conntrack]\nmarks = 113936 0x1BD11/0x1FFFF, 0xffffffff\n",
	  "conntrack mark 0x1bd10/0xffffffff 0x1bd11/0x1ffff 0xffffffff/0xffffffff" },
	{ "[conntrack]\nmarks = all\n", "conntrack mark" },
	{ "[conntrack]\nmarks = 4294967296\n", "f:2: [conntrack] marks = 4294967296: 4294967296 is not value or "
	  "value/mask, in decimal or 0x and hexadecimal" },
	{ "[conntrack]\nmarks = 0x\n", "f:2: [conntrack] marks = 0x: 0x is not value or value/mask, in decimal or 0x and "
	  "hexadecimal" },
	{ "[conntrack]\nmarks = 1/\n", "f:2: [conntrack] marks = 1/: 1/ is not value or value/mask, in decimal or 0x and "
	  "hexadecimal" },
	{ "[conntrack]\nmarks = 0/0\n", "f:2: [conntrack] marks = 0/0: 0/0 is true of every mark; the word all would be "
	  "right" },
	{ "[conntrack]\nmarks = 0x13/0xf0\n", "f:2: [conntrack] marks = 0x13/0xf0: 0x13/0xf0 has bits outside its mask and "
	  "is true of no mark; 0x10/0xf0 would be right" },
	{ "[conntrack]\nprotocols = tcp udp udplite sctp dccp icmp icmpv6 gre esp ah\n",
	  "conntrack protocol 6 17 136 132 33 1 58 47 50 51" },
	{ "[conntrack]\nprotocols = 0, 255\n", "conntrack protocol 0 255" },
	{ "[conntrack]\nprotocols = all\n", "conntrack protocol" },
	{ "[conntrack]\nprotocols = 256\n", "f:2: [conntrack] protocols = 256: 256 is not one of tcp udp udplite sctp dccp "
	  "icmp icmpv6 gre esp ah, nor a number from 0 to 255" },
	{ "[conntrack]\nprotocols = TCP\n", "f:2: [conntrack] protocols = TCP: TCP is not one of tcp udp udplite sctp dccp "
	  "icmp icmpv6 gre esp ah, nor a number from 0 to 255" },
	{ "[conntrack]\nprotocols = udp 17\n", "f:2: [conntrack] protocols = udp 17: 17 stands twice; once would be "
	  "right" },

	/* [netbird] */
	{ "[netbird]\ninterface = utun100\n", "netbird interface utun100" },
	{ "[netbird]\ninterface = abcdefghijklmno\n", "netbird interface abcdefghijklmno" },
	{ "[netbird]\ninterface = abcdefghijklmnop\n", "f:2: [netbird] interface = abcdefghijklmnop: not the name of an "
	  "interface (at most 15 octets, none of them / : or a space)" },
	{ "[netbird]\ninterface = a/b\n", "f:2: [netbird] interface = a/b: not the name of an interface (at most 15 "
	  "octets, none of them / : or a space)" },
	{ "[netbird]\ninterface = ..\n", "f:2: [netbird] interface = ..: not the name of an interface (at most 15 octets, "
	  "none of them / : or a space)" },
	{ "[netbird]\nstatus = socket\n", "netbird status 1" },
	{ "[netbird]\nstatus = command\n", "netbird status 2" },
	{ "[netbird]\nstatus = off\n", "netbird status 3" },
	{ "[netbird]\nstatus = no\n", "f:2: [netbird] status = no: not auto or socket or command or off" },
	{ "[netbird]\nsocket = /run/nb.sock\n", "netbird socket /run/nb.sock" },
	{ "[netbird]\nsocket = off\n", "f:2: [netbird] socket = off: not an absolute path" },
	{ "[netbird]\ncommand = /opt/netbird\n", "netbird command /opt/netbird" },
	{ "[netbird]\ncommand = netbird\n", "f:2: [netbird] command = netbird: not an absolute path" },
	{ "[netbird]\nrefresh = 5m\n", "netbird refresh 300" },
	{ "[netbird]\nrefresh = 0\n", "f:2: [netbird] refresh = 0: not a time in seconds (units s m h d) from 1s to 1h" },
	{ "[netbird]\nhistory = 7d\n", "netbird history 604800" },
	{ "[netbird]\nhistory = 1h\n", "netbird history 3600" },
	{ "[netbird]\nhistory = 0\n", "f:2: [netbird] history = 0: not a time in seconds (units s m h d) from 1h to 3650d" },
	{ "[netbird]\npeers-file = /etc/peerflow/peers\n", "netbird peers-file /etc/peerflow/peers" },
	{ "[netbird]\npeers-file = none\n", "netbird peers-file (null)" },
	{ "[netbird]\npeers-file = peers\n", "f:2: [netbird] peers-file = peers: not an absolute path or none" },
	{ "[netbird]\napi-url = https://netbird.example.com:8443/p/\n",
	  "netbird api-url https://netbird.example.com:8443/p/" },
	{ "[netbird]\napi-url = http://127.0.0.1:8080\n", "netbird api-url http://127.0.0.1:8080" },
	{ "[netbird]\napi-url = http://[::1]/\n", "netbird api-url http://[::1]/" },
	{ "[netbird]\napi-url = http://localhost\n", "netbird api-url http://localhost" },
	{ "[netbird]\napi-url = none\n", "netbird api-url (null)" },
	{ "[netbird]\napi-url = http://netbird.example.com\n", "f:2: [netbird] api-url = http://netbird.example.com: "
	  URL_WANTED },
	{ "[netbird]\napi-url = http://127.0.0.1.example.com\n", "f:2: [netbird] api-url = http://127.0.0.1.example.com: "
	  URL_WANTED },
	{ "[netbird]\napi-url = https://u:p@example.com\n", "f:2: [netbird] api-url = https://u:p@example.com: "
	  URL_WANTED },
	{ "[netbird]\napi-url = https://example.com/?a\n", "f:2: [netbird] api-url = https://example.com/?a: "
	  URL_WANTED },
	{ "[netbird]\napi-url = https://\n", "f:2: [netbird] api-url = https://: " URL_WANTED },
	{ "[netbird]\napi-url = netbird.example.com\n", "f:2: [netbird] api-url = netbird.example.com: " URL_WANTED },
	{ "[netbird]\napi-token-file = /run/token\n", "netbird api-token-file /run/token" },
	{ "[netbird]\napi-token-file = token\n", "f:2: [netbird] api-token-file = token: not an absolute path" },
	{ "[netbird]\napi-refresh = 1h\n", "netbird api-refresh 3600" },
	{ "[netbird]\napi-refresh = 9\n", "f:2: [netbird] api-refresh = 9: not a time in seconds (units s m h d) from 10s "
	  "to 1d" },
	{ "[netbird]\nwireguard = off\n", "netbird wireguard 0" },
	{ "[netbird]\nwireguard = auto\n", "netbird wireguard 1" },
	{ "[netbird]\nwireguard = yes\n", "f:2: [netbird] wireguard = yes: not off or auto" },

	/* [collector NAME] */
	{ C, "collector a host 192.0.2.1" },
	{ "[collector a]\nhost = 2001:db8::1\n", "collector a host 2001:db8::1" },
	{ "[collector a]\nhost = flows-1.example.org.\n", "collector a host flows-1.example.org." },
	{ "[collector a]\nhost = localhost\n", "collector a host localhost" },
	{ "[collector a]\nhost = 4739.example\n", "collector a host 4739.example" },
	{ "[collector a]\nhost = 192.0.2.1:4739\n", "f:2: [collector a] host = 192.0.2.1:4739: not an address or DNS name "
	  "(the port has a key of its own)" },
	{ "[collector a]\nhost = 192.0.2.256\n", "f:2: [collector a] host = 192.0.2.256: not an address or DNS name (the "
	  "port has a key of its own)" },
	{ "[collector a]\nhost = .\n", "f:2: [collector a] host = .: not an address or DNS name (the port has a key of its "
	  "own)" },
	{ "[collector a]\nhost = a..b\n", "f:2: [collector a] host = a..b: not an address or DNS name (the port has a key "
	  "of its own)" },
	{ "[collector a]\nhost = -a\n", "f:2: [collector a] host = -a: not an address or DNS name (the port has a key of "
	  "its own)" },
	{ "[collector a]\nhost = a b\n", "f:2: [collector a] host = a b: not an address or DNS name (the port has a key of "
	  "its own)" },
	{ "[collector a]\nhost = " SIXTY_FOUR ".example\n", "f:2: [collector a] host = " SIXTY_FOUR ".example: not an "
	  "address or DNS name (the port has a key of its own)" },
	{ C "port = 1\n", "collector a port 1" },
	{ C "port = 65535\n", "collector a port 65535" },
	{ C "port = 0\n", "f:3: [collector a] port = 0: not a number from 1 to 65535" },
	{ C "port = 65536\n", "f:3: [collector a] port = 65536: not a number from 1 to 65535" },
	{ C "port = 4739/udp\n", "f:3: [collector a] port = 4739/udp: not a number from 1 to 65535" },
	{ C "port = 1K\n", "f:3: [collector a] port = 1K: not a number from 1 to 65535" },
	{ C "transport = udp\n", "collector a transport 0" },
	{ C "transport = tcp\n", "collector a transport 1" },
	{ C "transport = tls\n", "f:3: [collector a] transport = tls: not udp or tcp" },
	{ C "protocol = ipfix\n", "collector a protocol 0" },
	{ C "protocol = netflow9\n", "collector a protocol 1" },
	{ C "protocol = netflow5\n", "f:3: [collector a] protocol = netflow5: not ipfix or netflow9" },
	{ C "template = full\n", "collector a template full" },
	{ C "template = /etc/x.template\n", "collector a template /etc/x.template" },
	{ C, "collector a template default" },
	{ C "protocol = netflow9\n", "collector a template nfdump" },
	{ C "protocol = netflow9\ntemplate = my\n", "collector a template my" },
	{ C "template = ../x\n", "f:3: [collector a] template = ../x: not the name of a template (letters, digits, . _ -), "
	  "an absolute path or auto" },
	{ C "template = ..\n", "f:3: [collector a] template = ..: not the name of a template (letters, digits, . _ -), an "
	  "absolute path or auto" },
	{ C "records = uniflow\n", "collector a records 0" },
	{ C "records = biflow\n", "collector a records 1" },
	{ C "records = both\n", "f:3: [collector a] records = both: not uniflow or biflow" },
	{ C "reply-tuple = mirror\n", "collector a reply-tuple 0" },
	{ C "reply-tuple = wire\n", "collector a reply-tuple 1" },
	{ C "reply-tuple = wired\n", "f:3: [collector a] reply-tuple = wired: not mirror or wire" },
	{ C "template-refresh = 1\n", "collector a template-refresh 1" },
	{ C "template-refresh = 1d\n", "collector a template-refresh 86400" },
	{ C "template-refresh = 10M\n", "collector a template-refresh 600" },
	{ C "template-refresh = 0s\n", "f:3: [collector a] template-refresh = 0s: not a time in seconds (units s m h d) "
	  "from 1s to 1d" },
	{ C "template-refresh = 86401\n", "f:3: [collector a] template-refresh = 86401: not a time in seconds (units s m h "
	  "d) from 1s to 1d" },
	{ C "template-refresh = 1w\n", "f:3: [collector a] template-refresh = 1w: not a time in seconds (units s m h d) "
	  "from 1s to 1d" },
	{ C "template-refresh = 1.5m\n", "f:3: [collector a] template-refresh = 1.5m: not a time in seconds (units s m h "
	  "d) from 1s to 1d" },
	{ C "mtu = 512\n", "collector a mtu 512" },
	{ C "mtu = 65535\n", "collector a mtu 65535" },
	{ C "mtu = auto\n", "collector a mtu 0" },
	{ C "mtu = 511\n", "f:3: [collector a] mtu = 511: not a number from 512 to 65535 or auto" },
	{ C "mtu = 65536\n", "f:3: [collector a] mtu = 65536: not a number from 512 to 65535 or auto" },
	{ C "mtu = 0\n", "f:3: [collector a] mtu = 0: not a number from 512 to 65535 or auto" },
	{ C "source-address = 198.51.100.7\n", "collector a source-address 198.51.100.7" },
	{ C "source-address = auto\n", "collector a source-address (null)" },
	{ "[collector a]\nhost = a.example\nsource-address = 2001:db8::2\n", "collector a source-address 2001:db8::2" },
	{ C "source-address = wt0\n", "f:3: [collector a] source-address = wt0: not an IPv4 or IPv6 address or auto" },
	{ C "source-address = ::1\n", "f:3: [collector a] source-address = ::1: the host is IPv4; an IPv4 address would be "
	  "right" },
	{ "[collector a]\nsource-address = 127.0.0.1\nhost = ::1\n", "f:2: [collector a] source-address = 127.0.0.1: the "
	  "host is IPv6; an IPv6 address would be right" },
	{ C "retry = 1s\n", "collector a retry 1" },
	{ C "retry = 1h\n", "collector a retry 3600" },
	{ C "retry = 0\n", "f:3: [collector a] retry = 0: not a time in seconds (units s m h d) from 1s to 1h" },
	{ C "retry = 61m\n", "f:3: [collector a] retry = 61m: not a time in seconds (units s m h d) from 1s to 1h" },
	{ C "retry = 1d\n", "f:3: [collector a] retry = 1d: not a time in seconds (units s m h d) from 1s to 1h" },
	{ C "resolve = 10s\n", "collector a resolve 10" },
	{ C "resolve = 24h\n", "collector a resolve 86400" },
	{ C "resolve = 9\n", "f:3: [collector a] resolve = 9: not a time in seconds (units s m h d) from 10s to 1d" },
	{ C "resolve = 25h\n", "f:3: [collector a] resolve = 25h: not a time in seconds (units s m h d) from 10s to 1d" },
	{ C "queue = 64K\n", "collector a queue 65536" },
	{ C "queue = 1G\n", "collector a queue 1073741824" },
	{ C "queue = 63K\n", "f:3: [collector a] queue = 63K: not a number of octets (units K M G) from 64K to 1G" },
	{ C "queue = 1025M\n", "f:3: [collector a] queue = 1025M: not a number of octets (units K M G) from 64K to 1G" },

	/* What the options cannot know of each other */
	{ "[collector a]\n\nport = 1\n", "f:1: [collector a]: no host; host = an address or DNS name would be right" },
	{ "\n[collector a]\n[collector b]\nhost = b\n", "f:2: [collector a]: no host; host = an address or DNS name would "
	  "be right" },
	{ C "transport = tcp\nprotocol = netflow9\n", "f:3: [collector a] transport = tcp: no collector reads NetFlow v9 "
	  "over TCP; udp, or protocol = ipfix, would be right" },
	{ C "port = 1\n[collector b]\nhost = b\nport = 2\n", "collector b port 2" },
	{ C "port = 1\n[collector b]\nhost = b\n", "collector b port 4739" },
	{ C C, "f:3: [collector a]: stands twice, first in line 1; one group would be right" },
	{ C "[ collector\ta ]\n", "f:3: [collector a]: stands twice, first in line 1; one group would be right" },
	{ "[exporter]\n[netbird]\n[exporter]\n", "f:3: [exporter]: stands twice, first in line 1; one group would be "
	  "right" },
	{ C "port = 1\nport = 1\n", "f:4: [collector a] port = 1: stands twice, first in line 3; once would be right" },

	/* The syntax */
	{ "", "exporter live-socket /run/peerflow/live" },
	{ "# c\n ; c\n\n \t\n[netbird]\n\tinterface=a#b\n", "netbird interface a#b" },
	{ "\xef\xbb\xbf[netbird]\r\ninterface = x\r\n\r\n", "netbird interface x" },
	{ "[netbird]\ninterface = x", "netbird interface x" },
	{ "[netbird]\n = x\n", "f:2: = x: no key; key = value would be right" },
	{ "[netbird]\ninterface =\n", "f:2: [netbird] interface = : no value; one would be right, or no such line" },
	{ "[netbird]\ninterface wt0\n", "f:2: interface wt0: no =; key = value, [group] or # comment would be right" },
	{ "[netbird]\ninterface = wt0 # mine\n", "f:2: [netbird] interface = wt0 # mine: a comment behind the value; on a "
	  "line of its own it would be right" },
	{ "[netbird]\ninterface = #mine\n", "f:2: [netbird] interface = #mine: a comment behind the value; on a line of "
	  "its own it would be right" },
	{ "interface = wt0\n", "f:1: interface = wt0: stands before the first [group]; below one would be right" },
	{ "[netbird\n", "f:1: [netbird: no ] at the end; [group] on a line of its own would be right" },
	{ "[netbird] x\n", "f:1: [netbird] x: no ] at the end; [group] on a line of its own would be right" },
	{ "[netbird x]\n", "f:1: [netbird x]: a group without a name; [netbird] would be right" },
	{ "[collector]\n", "f:1: [collector]: [collector NAME] with a NAME of at most 64 letters, digits, . _ - would be "
	  "right" },
	{ "[collector a b]\n", "f:1: [collector a b]: [collector NAME] with a NAME of at most 64 letters, digits, . _ - "
	  "would be right" },
	{ "[collector " SIXTY_FOUR "]\nhost = h\n", "collector " SIXTY_FOUR " host h" },
	{ "[collector " SIXTY_FOUR "4]\n", "f:1: [collector " SIXTY_FOUR "4]: [collector NAME] with a NAME of at most 64 "
	  "letters, digits, . _ - would be right" },
	{ "[colector a]\n", "f:1: [colector a]: unknown group; collector would be right" },
	{ "[metrics]\n", "f:1: [metrics]: unknown group; exporter, conntrack, netbird, archive or collector NAME "
	  "would be right" },
	{ "[]\n", "f:1: []: unknown group; exporter, conntrack, netbird, archive or collector NAME would be "
	  "right" },
	{ "[\n", "f:1: [: no ] at the end; [group] on a line of its own would be right" },
	{ C "prot = 1\n", "f:3: [collector a] prot = 1: unknown key; port would be right" },
	{ C "template_refresh = 1\n", "f:3: [collector a] template_refresh = 1: unknown key; template-refresh would be "
	  "right" },
	{ C "labels = yes\n", "f:3: [collector a] labels = yes: unknown key here; it belongs to [conntrack]" },
	{ "[netbird]\nhost = a\n", "f:2: [netbird] host = a: unknown key here; it belongs to [collector NAME]" },
	{ C "x = 1\n", "f:3: [collector a] x = 1: unknown key; exporter.conf(5) lists those there are" },
	{ C "colour = red\n", "f:3: [collector a] colour = red: unknown key; exporter.conf(5) lists those there are" },
	{ "[netbird]\ninterface = \xff\n", "f:2: octet 13 of the line, 0xff, is not UTF-8 text" },
	{ "[netbird]\n# \xc3\n", "f:2: octet 3 of the line, 0xc3, is not UTF-8 text" },
	{ "# comments may say \xe2\x80\x8d what they like\n[netbird]\ninterface = x\n", "netbird interface x" },
	{ "[netbird]\ninterface = \x1b[1m\n", "f:2: a character that cannot be seen; text without it would be right" },
	{ "[netbird]\ninterface = a\rb\n", "f:2: a character that cannot be seen; text without it would be right" },
};

static void
print_address(FILE *out, const union address *address, uint8_t family)
{
	char text[INET6_ADDRSTRLEN];
	fprintf(out, " %u:%s", family, inet_ntop(family == 4 ? AF_INET : AF_INET6, address, text, sizeof text));
}

static void
print_collector(FILE *out, const struct config_collector *c)
{
	const struct { const char *key; size_t number; } numbers[] = {
		{ "port", c->port }, { "transport", c->transport }, { "protocol", c->protocol }, { "records", c->records },
		{ "reply-tuple", c->reply_tuple }, { "template-refresh", c->template_refresh }, { "mtu", c->mtu },
		{ "retry", c->retry }, { "resolve", c->resolve }, { "queue", c->queue },
	};

	fprintf(out, "collector %s host %s\n", c->name, c->host);
	fprintf(out, "collector %s template %s\n", c->name, c->template_name);
	fprintf(out, "collector %s source-address %s\n", c->name, c->source_address ? c->source_address : "(null)");
	for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
		fprintf(out, "collector %s %s %zu\n", c->name, numbers[i].key, numbers[i].number);
}

static void
print_lists(FILE *out, const struct config *config)
{
	fprintf(out, "conntrack ignore");
	for (size_t i = 0; i < config->n_ignore; i++) {
		print_address(out, &config->ignore[i].address, config->ignore[i].family);
		fprintf(out, "/%u", config->ignore[i].length);
	}
	fprintf(out, "\nconntrack mark");
	for (size_t i = 0; i < config->n_mark; i++)
		fprintf(out, " 0x%x/0x%x", config->mark[i].value, config->mark[i].mask);
	fprintf(out, "\nconntrack protocol");
	for (size_t i = 0; i < config->n_protocol; i++)
		fprintf(out, " %u", config->protocol[i]);
	fprintf(out, "\n");
}

static void
print_archive(FILE *out, const struct config_archive *archive)
{
	fprintf(out, "archive enabled %d\n", archive->enabled);
	fprintf(out, "archive path %s\n", archive->path ? archive->path : "(null)");
	fprintf(out, "archive rotate %u\n", archive->rotate);
	fprintf(out, "archive rotate-size %" PRIu64 "\n", archive->rotate_size);
	fprintf(out, "archive retain %u\n", archive->retain);
	fprintf(out, "archive max-size %" PRIu64 "\n", archive->max_size);
	fprintf(out, "archive sync %d\n", archive->sync);
	fprintf(out, "archive compress %d\n", archive->compress);
}

/* Everything in the struct, a line each; for the caller to free. */
static char *
print(const struct config *config)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	fprintf(out, "\nexporter domain %d %u\n", config->has_domain_id, config->domain_id);
	fprintf(out, "exporter name %s\n", config->domain_name ? config->domain_name : "(null)");
	fprintf(out, "exporter enterprise %u\n", config->enterprise_number);
	fprintf(out, "exporter template-directory %s\n", config->template_directory);
	fprintf(out, "exporter runtime-directory %s\n", config->runtime_directory ? config->runtime_directory : "(null)");
	fprintf(out, "exporter state-directory %s\n", config->state_directory ? config->state_directory : "(null)");
	fprintf(out, "exporter live-socket %s\n", config->live_socket ? config->live_socket : "(null)");
	fprintf(out, "exporter status-socket %s\n", config->status_socket ? config->status_socket : "(null)");
	fprintf(out, "conntrack receive-buffer %zu\n", config->receive_buffer);
	fprintf(out, "conntrack active-timeout %u\n", config->active_timeout);
	fprintf(out, "conntrack max-long-flows %zu\n", config->max_long_flows);
	fprintf(out, "conntrack count-from %d\n", config->count_from_start);
	fprintf(out, "conntrack reap-share %u\n", config->reap_share);
	fprintf(out, "conntrack flows %d\n", config->flows);
	fprintf(out, "conntrack reliable %d\n", config->reliable);
	fprintf(out, "conntrack fuse %u\n", config->fuse);
	fprintf(out, "conntrack labels %d\n", config->labels);
	print_lists(out, config);
	fprintf(out, "netbird interface %s\n", config->interface);
	fprintf(out, "netbird status %d\n", config->status);
	fprintf(out, "netbird socket %s\n", config->netbird_socket);
	fprintf(out, "netbird command %s\n", config->netbird_command);
	fprintf(out, "netbird refresh %u\n", config->refresh);
	fprintf(out, "netbird peers-file %s\n", config->peers_file ? config->peers_file : "(null)");
	fprintf(out, "netbird history %u\n", config->history);
	fprintf(out, "netbird api-url %s\n", config->api_url ? config->api_url : "(null)");
	fprintf(out, "netbird api-token-file %s\n", config->api_token_file);
	fprintf(out, "netbird api-refresh %u\n", config->api_refresh);
	fprintf(out, "netbird wireguard %d\n", config->wireguard);
	print_archive(out, &config->archive);
	for (size_t i = 0; i < config->n_collectors; i++)
		print_collector(out, &config->collector[i]);
	fclose(out);
	return text;
}

/* True if the text gives this result; says on standard error what it gave instead. */
static bool
gives(const struct sample *sample)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(config_t) config = config_parse("f", sample->text, strlen(sample->text), &error);
	g_autofree char *line = g_strdup_printf("\n%s\n", sample->result);
	char *printed = config ? print(config) : NULL;
	bool good = config ? strstr(printed, line) != NULL : strcmp(error->message, sample->result) == 0;

	if (!good)
		fprintf(stderr, "\n%swanted: %s\ngot: %s\n", sample->text, sample->result, config ? printed : error->message);
	free(printed);
	CU_ASSERT(config || g_error_matches(error, PEERFLOW_ERROR, EX_CONFIG));
	return good;
}

static void
test_samples(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(samples); i++)
		CU_ASSERT(gives(&samples[i]));
}

/* Every key has samples: one that is taken and, if any value can be wrong, one that is refused. */
static void
test_samples_are_complete(void)
{
	struct config_option option;

	for (size_t n = 0; config_option(n, &option); n++) {
		g_autofree char *setting = g_strdup_printf("\n%s = ", option.key);
		unsigned good = 0, bad = 0;
		for (size_t i = 0; i < G_N_ELEMENTS(samples); i++) {
			bool named = strstr(samples[i].text, setting) != NULL;
			bool failed = g_str_has_prefix(samples[i].result, "f:") && strstr(samples[i].result, setting + 1);
			bad += named && failed;
			good += named && !g_str_has_prefix(samples[i].result, "f:");
		}
		CU_ASSERT(good && bad);
	}
}

static void
test_defaults(void)
{
	static const char wanted[] =
		"exporter runtime-directory /run/peerflow\n"
		"exporter state-directory /var/lib/peerflow\n"
		"exporter live-socket /run/peerflow/live\n"
		"exporter status-socket /run/peerflow/status\n"
		"conntrack receive-buffer 67108864\n"
		"conntrack active-timeout 60\n"
		"conntrack max-long-flows 65536\n"
		"conntrack count-from 0\n"
		"conntrack reap-share 2\n"
		"conntrack flows 0\n"
		"conntrack reliable 1\n"
		"conntrack fuse 80\n"
		"conntrack labels 0\n"
		"conntrack ignore 4:127.0.0.0/8 6:::1/128\n"
		"conntrack mark\n"
		"conntrack protocol\n"
		"netbird interface wt0\n"
		"netbird status 0\n"
		"netbird socket /var/run/netbird-http.sock\n"
		"netbird command /usr/bin/netbird\n"
		"netbird refresh 60\n"
		"netbird peers-file (null)\n"
		"netbird history 7776000\n"
		"netbird api-url (null)\n"
		"netbird api-token-file /etc/peerflow/api-token\n"
		"netbird api-refresh 300\n"
		"netbird wireguard 1\n"
		"archive enabled 1\n"
		"archive path /var/lib/peerflow/archive\n"
		"archive rotate 300\n"
		"archive rotate-size 67108864\n"
		"archive retain 172800\n"
		"archive max-size 8589934592\n"
		"archive sync 1\n"
		"archive compress 0\n"
		"collector a host 192.0.2.1\n"
		"collector a template default\n"
		"collector a source-address (null)\n"
		"collector a port 4739\n"
		"collector a transport 0\n"
		"collector a protocol 0\n"
		"collector a records 0\n"
		"collector a reply-tuple 0\n"
		"collector a template-refresh 60\n"
		"collector a mtu 0\n"
		"collector a retry 60\n"
		"collector a resolve 300\n"
		"collector a queue 4194304\n";
	g_autoptr(config_t) config = config_parse("f", C, strlen(C), NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(config);
	char *printed = print(config);
	CU_ASSERT(g_str_has_prefix(printed, "\nexporter domain 0 0\nexporter name (null)\nexporter enterprise 0\n"
	                                    "exporter template-directory /"));
	CU_ASSERT(g_str_has_suffix(printed, wanted));
	CU_ASSERT(g_str_has_suffix(config->template_directory, "/peerflow/templates"));
	CU_ASSERT_STRING_EQUAL(config->path, "f");
	free(printed);
}

/* What cannot stand in the table: zero octets, huge lines, long lists, values too long to repeat. */

static char *
error_of(const char *text, size_t length)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(config_t) config = config_parse("f", text, length, &error);
	return g_strdup(config ? "none" : error->message);
}

static void
test_zero_octet(void)
{
	static const char text[] = "[netbird]\ninter\0face = x\n";
	g_autofree char *message = error_of(text, sizeof text - 1);
	CU_ASSERT_STRING_EQUAL(message, "f:2: octet 6 of the line, 0x00, is not UTF-8 text");
}

static void
test_huge_line(void)
{
	g_autofree char *filler = g_strnfill(4096, 'x');
	g_autofree char *longest = g_strdup_printf("#%.4095s\n[netbird]\n", filler);
	g_autofree char *longer = g_strdup_printf("#%.4096s\n[netbird]\n", filler);
	g_autofree char *message = error_of(longest, strlen(longest));
	g_autofree char *refusal = error_of(longer, strlen(longer));
	CU_ASSERT_STRING_EQUAL(message, "none");
	CU_ASSERT_STRING_EQUAL(refusal, "f:1: a line of 4097 octets; at most 4096 would be right");
}

static void
test_long_list(void)
{
	g_autoptr(GString) text = g_string_new("[conntrack]\nmarks =");
	for (int i = 0; i < 64; i++)
		g_string_append_printf(text, " %d", i);
	g_autofree char *message = error_of(text->str, text->len);
	CU_ASSERT_STRING_EQUAL(message, "none");
	g_string_append(text, " 64");
	g_autofree char *refusal = error_of(text->str, text->len);
	CU_ASSERT(g_str_has_suffix(refusal, "…: too long a list; at most 64 items would be right"));
}

/* An error stays a line for people even if the file is none: bounded, whole characters, no control characters. */
static void
test_bounded_error(void)
{
	g_autoptr(GString) text = g_string_new("[conntrack]\nignore = ");
	for (int i = 0; i < 800; i++)
		g_string_append(text, "ü€");
	g_autofree char *message = error_of(text->str, text->len);
	CU_ASSERT(g_str_has_prefix(message, "f:2: [conntrack] ignore = ü€"));
	CU_ASSERT(g_utf8_validate(message, -1, NULL));
	CU_ASSERT(g_utf8_strlen(message, -1) < 400);
}

/* Files */

static void
test_load(void)
{
	char folder[] = "/tmp/peerflow-config-XXXXXX";
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	g_autofree char *path = g_strdup_printf("%s/exporter.conf", folder);
	g_autoptr(GError) missing = NULL, directory = NULL, huge = NULL, wrong = NULL;

	CU_ASSERT_PTR_NULL(config_load(path, &missing));
	g_autofree char *wanted = g_strdup_printf("%s: No such file or directory", path);
	CU_ASSERT_STRING_EQUAL(missing->message, wanted);
	CU_ASSERT_EQUAL(missing->code, EX_CONFIG);

	CU_ASSERT_PTR_NULL(config_load(folder, &directory));
	CU_ASSERT(g_str_has_suffix(directory->message, ": Is a directory"));

	CU_ASSERT_PTR_NULL(config_load("/dev/zero", &huge));
	CU_ASSERT_STRING_EQUAL(huge->message, "/dev/zero: more than 1048576 octets; no configuration");

	CU_ASSERT(g_file_set_contents(path, "[netbird]\ninterface = x\n", -1, NULL));
	g_autoptr(config_t) config = config_load(path, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(config);
	CU_ASSERT_STRING_EQUAL(config->path, path);
	CU_ASSERT_STRING_EQUAL(config->interface, "x");

	CU_ASSERT(g_file_set_contents(path, "x\n", -1, NULL));
	CU_ASSERT_PTR_NULL(config_load(path, &wrong));
	g_autofree char *start = g_strdup_printf("%s:1: x: ", path);
	CU_ASSERT(g_str_has_prefix(wrong->message, start));
	unlink(path);
	rmdir(folder);
}

static char *
read_source(const char *path)
{
	g_autofree char *whole = g_strdup_printf(SOURCE_DIR "/%s", path);
	char *text = NULL;
	CU_ASSERT_FATAL(g_file_get_contents(whole, &text, NULL, NULL));
	return text;
}

/* The shipped file with every "#key = value" and "#[group]" made real; prose has a space behind its "#". */
static char *
uncomment(const char *text)
{
	GString *result = g_string_new(NULL);
	g_auto(GStrv) line = g_strsplit(text, "\n", -1);

	for (unsigned i = 0; line[i]; i++) {
		bool is_setting = line[i][0] == '#' && (g_ascii_islower(line[i][1]) || line[i][1] == '[');
		g_string_append_printf(result, "%s\n", line[i] + is_setting);
	}
	return g_string_free(result, false);
}

static void
test_shipped_file_as_it_is(void)
{
	g_autofree char *text = read_source("exporter.conf");
	g_autoptr(config_t) shipped = config_parse("exporter.conf", text, strlen(text), NULL);
	g_autoptr(config_t) empty = config_parse("empty", "", 0, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(shipped);
	char *of_shipped = print(shipped), *of_empty = print(empty);
	CU_ASSERT_STRING_EQUAL(of_shipped, of_empty);
	CU_ASSERT_PTR_NOT_NULL(shipped->live_socket);
	free(of_shipped);
	free(of_empty);
}

static void
test_shipped_file_uncommented(void)
{
	static const char wanted[] =
		"[collector ipfix]\nhost = 192.0.2.10\n"
		"[collector ipfix-tcp]\nhost = flows.example.org\ntransport = tcp\n"
		"[collector nfdump]\nhost = 192.0.2.20\nport = 9995\nprotocol = netflow9\n";
	g_autofree char *text = read_source("exporter.conf");
	g_autofree char *bare = uncomment(text);
	g_autoptr(GError) error = NULL;
	g_autoptr(config_t) shipped = config_parse("exporter.conf", bare, strlen(bare), &error);
	g_autoptr(config_t) built_in = config_parse("built-in", wanted, strlen(wanted), NULL);

	if (error)
		fprintf(stderr, "%s\n", error->message);
	CU_ASSERT_PTR_NOT_NULL_FATAL(shipped);
	char *of_shipped = print(shipped), *of_built_in = print(built_in);
	CU_ASSERT_STRING_EQUAL(of_shipped, of_built_in);
	free(of_shipped);
	free(of_built_in);
}

/* Every option stands in the shipped file with its default and in the manual, there as the tag of a paragraph. */
static void
test_every_key_is_written_down(void)
{
	g_autofree char *file = read_source("exporter.conf");
	g_autofree char *manual = read_source("packaging/man/exporter.conf.5");
	struct config_option option;
	size_t n;

	for (n = 0; config_option(n, &option); n++) {
		g_autofree char *line = option.fallback ? g_strdup_printf("\n#%s = %s\n", option.key, option.fallback)
		                                        : g_strdup_printf("\n#%s = ", option.key);
		g_autofree char *key = g_strdelimit(g_strdup(option.key), "-", '\x01');
		g_auto(GStrv) part = g_strsplit(key, "\x01", -1);
		g_autofree char *escaped = g_strjoinv("\\-", part);
		g_autofree char *tag = g_strdup_printf("\n.TP\n.BR %s \" = ", escaped);
		CU_ASSERT_PTR_NOT_NULL(strstr(file, line));
		CU_ASSERT_PTR_NOT_NULL(strstr(manual, tag));
	}
	CU_ASSERT(n >= 24);
}

/* Reload */

static const char *const same[] = {
	"port = 4739\n", "transport = udp\n", "template = default\n", "template = auto\n", "retry = 1m\n",
	"queue = 4096K\n",
};

static const char *const other[] = {
	"port = 4740\n", "transport = tcp\n", "protocol = netflow9\n", "template = full\n", "records = biflow\n",
	"reply-tuple = wire\n", "template-refresh = 61\n", "mtu = 1500\n", "source-address = 127.0.0.1\n", "retry = 61\n",
	"resolve = 301\n", "queue = 5M\n",
};

static bool
equals_plain(const char *text)
{
	g_autoptr(config_t) plain = config_parse("f", C, strlen(C), NULL);
	g_autoptr(config_t) changed = config_parse("f", text, strlen(text), NULL);
	CU_ASSERT_FATAL(changed && changed->n_collectors == 1);
	bool equal = config_collector_equal(plain->collector, changed->collector);
	CU_ASSERT_EQUAL(equal, config_collector_equal(changed->collector, plain->collector));
	return equal;
}

static void
test_collector_equal(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(same); i++) {
		g_autofree char *text = g_strconcat(C, same[i], NULL);
		CU_ASSERT(equals_plain(text));
	}
	for (size_t i = 0; i < G_N_ELEMENTS(other); i++) {
		g_autofree char *text = g_strconcat(C, other[i], NULL);
		CU_ASSERT_FALSE(equals_plain(text));
	}
	CU_ASSERT_FALSE(equals_plain("[collector a]\nhost = 192.0.2.2\n"));
	CU_ASSERT_FALSE(equals_plain("[collector b]\nhost = 192.0.2.1\n"));
}

/* Each option of a collector is one that a reload must notice. */
static void
test_other_is_complete(void)
{
	struct config_option option;

	for (size_t n = 0; config_option(n, &option); n++) {
		bool found = strcmp(option.group, "collector") != 0 || strcmp(option.key, "host") == 0;
		g_autofree char *setting = g_strdup_printf("%s = ", option.key);
		for (size_t i = 0; i < G_N_ELEMENTS(other); i++)
			found |= g_str_has_prefix(other[i], setting);
		CU_ASSERT(found);
	}
}

int
main(void)
{
	CU_TestInfo tests[] = {
		{ "every sample gives its result or its error", test_samples },
		{ "every key has a good and a bad sample", test_samples_are_complete },
		{ "a minimal file gives the defaults", test_defaults },
		{ "a zero octet is refused", test_zero_octet },
		{ "a huge line is refused", test_huge_line },
		{ "a list beyond the ceiling is refused", test_long_list },
		{ "an error is one bounded line of UTF-8", test_bounded_error },
		{ "files: missing, directory, endless, good, bad", test_load },
		{ "the shipped file is an empty one", test_shipped_file_as_it_is },
		{ "the shipped file uncommented gives the defaults", test_shipped_file_uncommented },
		{ "every key stands in the shipped file and the manual", test_every_key_is_written_down },
		{ "equal collectors survive a reload, others do not", test_collector_equal },
		{ "every option of a collector counts in a reload", test_other_is_complete },
		CU_TEST_INFO_NULL,
	};
	return run_suite("config", tests);
}
