#!/bin/busybox sh
# shellcheck shell=dash
# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
#
# A guest's devices, in the emulated machine: Debian's kernel as guest of bhyve, whose first program
# (tests/guest/devices) uses them. Two guests, one after the other, share a disk: what the first
# wrote, the second finds. "pass NAME" or "fail NAME: WHY" for each, as all tests here.

dir=/run/devices
kernel=/tests/guest-vmlinuz initrd=/tests/guest-initrd tun=/tests/tun.ko
seed=7
code=0
verdict() { # NAME WHY: pass if WHY is empty
	if [ -z "$2" ]; then
		echo "pass $1"
	else
		echo "fail $1: $2"
		code=1
	fi
}

# Runs a guest to its end; what it said is in $dir/log.
guest() { # WORDS OPTION...
	words=$1
	shift
	timeout 900 bhyve -c 1 -m 192M -l com1,stdio --kernel "$kernel" --initrd "$initrd" \
		--append "console=ttyS0 quiet skep.do=devices,$words" "$@" devices \
		</dev/null >$dir/log 2>$dir/errors
	ended=$?
	sed 's/^/# /' $dir/errors
	grep '^guest: ' $dir/log | tr -d '\r' | sed 's/^/# /'
}

# What the guest said of one of its words.
said() { # WORD NAME
	if grep -q "guest: pass $1" $dir/log; then
		verdict "$2" ''
	else
		verdict "$2" "$(grep "guest: fail $1" $dir/log | tr -d '\r' || echo 'no word')"
	fi
}

# The tap comes with the first guest; its address is given as soon as it is there.
raise_tap() {
	for _ in $(seq 600); do
		[ -e /sys/class/net/tap7 ] && break
		sleep 0.2
	done
	ip addr add 192.168.7.1/24 dev tap7
	ip link set tap7 up
}

mkdir -p $dir/www
[ ! -e $tun ] || insmod $tun
ip link set lo up
dd if=/dev/zero of=$dir/disk bs=1048576 count=8 2>/dev/null
head -c 300000 /dev/urandom >$dir/www/file
sum=$(md5sum $dir/www/file)
httpd -p 127.0.0.1:8080 -h $dir/www

raise_tap &
guest "write,$seed,ping,192.168.7.1,random,console,from-the-guest" \
	-s 3,virtio-blk,$dir/disk -s 4,virtio-net,tap7 -s 5,virtio-rnd \
	-s 6,virtio-console,file=$dir/hvc
wait
[ $ended -eq 1 ] && why='' || why="bhyve ended with $ended"
verdict first-guest "$why"
said write disk_takes
said ping ping_over_tap
said random random_bytes
why=''
tr -d '\r' <$dir/hvc | grep -qx from-the-guest || why='its words are not in the file'
verdict console "$why"
why=''
[ "$(yes "skep $seed 0123456789abcdef" | head -c 4194304 | md5sum)" = \
	"$(head -c 4194304 $dir/disk | md5sum)" ] || why='the file has other bytes'
verdict disk_is_the_file "$why"

guest "verify,$seed,fetch,http://10.0.2.2:8080/file,${sum%% *}" \
	-s 3,virtio-blk,$dir/disk,ro -s 4,virtio-net,slirp
[ $ended -eq 1 ] && why='' || why="bhyve ended with $ended"
verdict second-guest "$why"
said verify disk_survives
said fetch tcp_by_slirp
killall httpd
rm -rf $dir
exit $code
