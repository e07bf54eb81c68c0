/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Counts of what went wrong without an event of its own; user space reads them at the end.
 */
#ifndef SD_COUNTERS_H
#define SD_COUNTERS_H

struct sd_counters counters;

#define count(field, n) __sync_fetch_and_add(&counters.field, (n))

#endif
