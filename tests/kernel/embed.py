#!/usr/bin/env python3
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""embed.py BINARY HEADER: the guest's program as an array in C, zeros at its end left out."""

import sys

binary, header = sys.argv[1:]
with open(binary, "rb") as file:
    data = file.read().rstrip(b"\0")
with open(header, "w", encoding="ascii") as file:
    file.write("/* Made by tests/kernel/embed.py. */\n"
               "static const unsigned char guest_image[%d] = {\n" % len(data))
    for start in range(0, len(data), 16):
        file.write("\t" + ", ".join("%d" % byte for byte in data[start:start + 16]) + ",\n")
    file.write("};\n")
