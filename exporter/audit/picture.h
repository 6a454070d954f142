/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef PEERFLOW_AUDIT_PICTURE_H
#define PEERFLOW_AUDIT_PICTURE_H

#include "audit/path.h"

/* Paths as pictures, a row of boxes each: the host that asked, the routers with the tuple before and after, the host
 * that was asked. dot is for graphviz; svg can be looked at as it is. */
path_writer picture_dot;
path_writer picture_svg;

#endif
