/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * `buslock lab`: experiments on the emulator, each a sub-command that prints a table and draws it.
 * argv[0] is "buslock lab NAME"; they return the exit status (cli.h).
 */
#ifndef BUSLOCK_CLI_LAB_H
#define BUSLOCK_CLI_LAB_H

int lab_throttle(int argc, char **argv);
int lab_hang(int argc, char **argv);

#endif
