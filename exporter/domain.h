/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_DOMAIN_H
#define PEERFLOW_DOMAIN_H

#include <stdint.h>

/* An Observation Domain id for this host: the IPv4 address of that interface as a number, else the first other one that
 * is not a loopback's, else 1. It differs between routers, which matters to collectors that share templates between
 * exporters by id alone, and is stable as long as that interface has its address before us. */
uint32_t domain_of_host(const char *interface);

#endif
