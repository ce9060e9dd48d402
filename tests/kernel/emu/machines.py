# SPDX-FileCopyrightText: The skep authors
# SPDX-License-Identifier: BSD-2-Clause
"""The machines we can emulate, and how each emulator is told to.

QEMU emulates SVM with nested paging, Bochs VMX with EPT (and SVM too). No processor's own
virtualization is ever used: what runs here runs everywhere, and the same everywhere.
"""

import os
import pty
import select
import shutil
import socket
import subprocess
import sys
import termios
import tty

QEMU, BOCHS = "qemu-system-x86_64", "bochs"

# name: emulator, its name for the CPU. What each CPU has is told in docs/KMOD.md.
MODELS = {
    "epyc": (QEMU, "EPYC"),
    "rome": (QEMU, "EPYC-Rome"),
    "milan": (QEMU, "EPYC-Milan"),
    "max": (QEMU, "max"),  # five levels of tables
    "max4": (QEMU, "max,-la57"),
    "qemu64": (QEMU, "qemu64,+svm,+npt"),  # no pages of 1 GiB
    "none": (QEMU, "qemu64,-svm"),  # nothing at all
    "lynnfield": (BOCHS, "corei5_lynnfield_750"),
    "arrandale": (BOCHS, "corei5_arrandale_m520"),
    "sandybridge": (BOCHS, "corei7_sandy_bridge_2600k"),
    "ivybridge": (BOCHS, "corei7_ivy_bridge_3770k"),
    "haswell": (BOCHS, "corei7_haswell_4770"),
    "broadwell": (BOCHS, "broadwell_ult"),
    "skylake": (BOCHS, "corei7_skylake_x"),
    "cannonlake": (BOCHS, "corei3_cnl"),
    "zambezi": (BOCHS, "zambezi"),
    "trinity": (BOCHS, "trinity_apu"),
    "penryn": (BOCHS, "core2_penryn_t9600"),  # VMX without EPT: the module must say so
    "tyler": (BOCHS, "turion64_tyler"),  # SVM without nested paging: likewise
}

# An IOMMU, devices behind it to be given to guests, and what the kernel must be told. One edu
# has a group to itself, the other is a function beside one that the host has a driver for; disks
# and a network device are for guests with drivers of their own. With
# interrupt remapping a kernel that misses a few ticks of the timer as it starts gives up: on a busy
# machine an emulated one may miss them.
EDU = ["-device", "edu,addr=1d.0",
       "-device", "virtio-rng-pci,addr=1e.0,multifunction=on", "-device", "edu,addr=1e.1"]
GIFTS = ["-drive", "file={scratch}/gift1,format=raw,if=none,id=gift1,cache=unsafe",
         "-device", "virtio-blk-pci,drive=gift1,addr=1c.0,disable-legacy=on,iommu_platform=on",
         "-drive", "file={scratch}/gift2,format=raw,if=none,id=gift2,cache=unsafe",
         "-device", "nvme,drive=gift2,serial=gift,addr=1b.0",
         "-netdev", "user,id=gift3", "-device", "e1000e,netdev=gift3,addr=1a.0",
         "-netdev", "user,id=gift4", "-device", "vmxnet3,netdev=gift4,addr=19.0"]
IOMMUS = {
    "intel": (["-device", "intel-iommu,intremap=on"] + EDU + GIFTS,
              "intel_iommu=on no_timer_check"),
    "amd": (["-device", "amd-iommu,intremap=on"] + EDU + GIFTS, "no_timer_check"),
    "none": (EDU, ""),
}

# Bochs' default idle, MWAIT, hangs with more than one CPU. A kernel that panics must not boot anew,
# and prints the stacks of all tasks and CPUs first; see nudge.
APPEND = ("console=ttyS0,115200 panic=-1 reboot=t nokaslr idle=halt "
          "unknown_nmi_panic panic_print=0x41")


def program(model):
    return MODELS[model][0]


# Bochs counts an instruction as a tick, and here so many as a second. Its newest CPUs claim another
# frequency in CPUID, and a kernel that believes it lives a hundred times too slowly.
IPS = 20000000


def append(args):
    line = "%s loglevel=%d %s" % (APPEND, 4 if args.shell else 7, args.append)
    if args.iommu:
        line += " " + IOMMUS[args.iommu][1]
    return line if program(args.model) == QEMU else "%s tsc_early_khz=%d" % (line, IPS // 1000)


def command(args, scratch):
    """The emulator's command line and environment."""
    if program(args.model) == QEMU:
        return qemu(args, scratch), None
    return bochs(args, scratch, "mode=file, dev=\"%s\"" % os.path.join(args.out, "console.log"))


# ---- QEMU ----------------------------------------------------------------------------------------


def qemu(args, scratch):
    swap = os.path.join(scratch, "swap")
    with open(swap, "wb") as disk:
        disk.truncate(args.swap << 20)
    console = "mon:stdio" if args.shell else "file:" + os.path.join(args.out, "console.log")
    line = [QEMU, "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", MODELS[args.model][1],
            "-smp", str(args.smp), "-m", str(args.mem), "-nodefaults", "-display", "none",
            "-no-reboot", "-serial", console,
            "-serial", "file:" + os.path.join(args.out, "results.log"),
            "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
            "-drive", "file=%s,format=raw,if=virtio,cache=unsafe" % swap,
            "-qmp", "unix:%s,server=on,wait=off" % os.path.join(scratch, "qmp"),
            "-kernel", args.kernel, "-initrd", args.initrd, "-append", append(args)]
    if args.iommu:
        for name in ("gift1", "gift2"):
            with open(os.path.join(scratch, name), "wb") as disk:
                disk.truncate(4 << 20)
        line += [word.format(scratch=scratch) for word in IOMMUS[args.iommu][0]]
    if args.gdb:
        line += ["-gdb", "tcp:127.0.0.1:%d" % args.gdb, "-S"]
    return line


def nudge(args, scratch):
    """Ask a machine that hangs where it hangs: an NMI makes its kernel print every CPU's stack."""
    if program(args.model) != QEMU:
        return
    try:
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(5)
            monitor.connect(os.path.join(scratch, "qmp"))
            for line in ("qmp_capabilities", "inject-nmi"):
                monitor.recv(65536)
                monitor.sendall(b'{"execute": "%s"}\n' % line.encode())
            monitor.recv(65536)
    except OSError:
        pass  # it hangs more than we thought


# ---- Bochs ---------------------------------------------------------------------------------------

# A CPU in shutdown is a panic to Bochs, before it looks whether SVM intercepts that: reported only.
BOCHSRC = """\
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, parallel=0, gameport=0, extfpuirq=1
plugin_ctrl: iodebug=1, serial=1
config_interface: textconfig
display_library: term
cpu: model={model}, count={smp}, ips={ips}, reset_on_triple_fault=0
memory: guest={mem}, host={mem}
romimage: file=/usr/share/bochs/BIOS-bochs-latest, options=fastboot
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
vga: extension=vbe, update_freq=1
pci: enabled=1, chipset=i440fx
clock: sync=none, time0=utc
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path="{iso}", status=inserted
ata1: enabled=0
boot: cdrom
com1: enabled=1, {console}
com2: enabled=1, mode=file, dev="{out}/results.log"
log: "{out}/bochs.log"
panic: action=fatal, {panics}
error: action=report
info: action=report
debug: action=ignore
"""

GRUB = """\
set timeout=0
linux /boot/vmlinuz {append}
initrd /boot/initrd
boot
"""


def iso(args, scratch):
    """A disk that Bochs can boot: its BIOS knows nothing of kernels."""
    tree = os.path.join(scratch, "iso")
    os.makedirs(os.path.join(tree, "boot/grub"))
    shutil.copyfile(args.kernel, os.path.join(tree, "boot/vmlinuz"))
    shutil.copyfile(args.initrd, os.path.join(tree, "boot/initrd"))
    with open(os.path.join(tree, "boot/grub/grub.cfg"), "w", encoding="utf-8") as config:
        config.write(GRUB.format(append=append(args)))
    path = os.path.join(scratch, "boot.iso")
    made = subprocess.run(
        ["grub-mkrescue", "-d", "/usr/lib/grub/i386-pc",
         "--install-modules=linux normal iso9660 biosdisk", "--locales=", "--fonts=", "--themes=",
         "-o", path, tree, "-quiet"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if made.returncode != 0:
        sys.exit("run.py: grub-mkrescue failed:\n" + made.stdout.decode(errors="replace"))
    return path


def bochs(args, scratch, console):
    out = os.path.abspath(args.out)
    config = os.path.join(scratch, "bochsrc")
    with open(config, "w", encoding="utf-8") as file:
        file.write(BOCHSRC.format(model=MODELS[args.model][1], smp=args.smp, mem=args.mem,
                                  ips=IPS,
                                  panics=", ".join("cpu%d=report" % i for i in range(args.smp)),
                                  iso=iso(args, scratch), console=console, out=out))
    # Debian builds Bochs with its debugger, which waits for commands at reset, and again at each
    # shutdown of a CPU, a guest's included: continue, then quit.
    debugger = os.path.join(scratch, "debugger")
    with open(debugger, "w", encoding="utf-8") as file:
        file.write("c\n" * 1000 + "q\n")
    env = dict(os.environ, TERM="vt100")
    return [BOCHS, "-q", "-f", config, "-rc", debugger], env


# ---- A shell -------------------------------------------------------------------------------------


def shell(args, scratch):
    """The console on the caller's terminal, until the machine ends."""
    if program(args.model) == QEMU:
        line, env = command(args, scratch)
        print("leave with exit, or with Ctrl-A X", flush=True)
        with open(os.path.join(args.out, "emulator.log"), "wb") as log:
            code = subprocess.run(line, env=env, stderr=log, check=False).returncode
        return 0 if code in (0, 33) else 1
    return shell_over_pty(args, scratch)


def shell_over_pty(args, scratch):
    """Bochs wants its terminal for itself: its serial line goes over a pseudo-terminal."""
    host, machine = pty.openpty()
    tty.setraw(machine)
    line, env = bochs(args, scratch, "mode=term, dev=%s" % os.ttyname(machine))
    with open(os.path.join(args.out, "emulator.log"), "wb") as log:
        process = subprocess.Popen(line, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   start_new_session=True)
    saved = termios.tcgetattr(0) if os.isatty(0) else None
    print("leave with exit, or with Ctrl-]", flush=True)
    sources = [host, 0]
    try:
        if saved:
            tty.setraw(0)
        while process.poll() is None:
            for source in select.select(sources, [], [], 0.2)[0]:
                data = os.read(source, 4096)
                if source == host:
                    os.write(1, data)
                elif b"\x1d" in data:
                    return 0
                elif data:
                    os.write(host, data)
                else:
                    sources.remove(0)
    finally:
        if saved:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
        if process.poll() is None:
            process.kill()
        process.wait()
    return 0
