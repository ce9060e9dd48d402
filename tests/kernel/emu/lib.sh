#!/bin/sh
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
#
# Sourced by the scripts of this folder: messages, and the cache.
#
# The cache holds what takes minutes to make and depends on few things: kernels. A directory's name
# carries a hash of all that went into it, so nothing there is ever out of date; it is made under
# another name and renamed when it is whole, so nothing there is ever half. Who deletes it loses
# minutes and nothing else.

emu=${emu:?the folder of these scripts}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/skep

say() { printf '%s\n' "$*"; }
note() { printf 'emu: %s\n' "$*" >&2; }
die() { # CODE MESSAGE
	code=$1
	shift
	note "$@"
	exit "$code"
}
have() { command -v "$1" >/dev/null 2>&1; }

# need TOOL PACKAGE...: pairs; 75 where one is missing
need() {
	while [ $# -gt 1 ]; do
		have "$1" || die 75 "no $1; install the package $2 (./dev setup does)"
		shift 2
	done
}

# hash_of: the first 16 digits of a hash of standard input
hash_of() { sha256sum | cut -c1-16; }

# cached NAME COMMAND...: print the cache's directory NAME; if there is none, COMMAND makes it in a
# directory that is handed to it as its last argument. Two that come at once make one. What was of
# the same kind (the name up to the hash) and not used for a month goes, leftovers included.
cached() {
	made=$cache/$1
	shift
	if [ ! -d "$made" ]; then
		mkdir -p -- "$cache"
		(
			flock 9
			[ ! -d "$made" ] || exit 0
			temp=$(mktemp -d "$made.XXXXXX") || exit 75
			trap 'rm -rf -- "$temp"' EXIT
			trap 'exit 143' HUP INT TERM
			"$@" "$temp" >&2 && mv -T -- "$temp" "$made"
		) 9>"$made.lock" || return $?
		rm -f -- "$made.lock"
		kind=${made##*/}
		find "$cache" -maxdepth 1 -name "${kind%-*}-*" -mtime +30 -exec rm -rf -- {} +
	fi
	touch -c -- "$made"
	printf '%s\n' "$made"
}
