"""Lays out the smallest root in which Python runs: `python3.11 rootfs.py OUT`, in a Debian that has it.

Copied are the files of the packages below, and nothing else: no shell, no package manager, no compiler. What of Python
needs a library that is not there is left out, so that nothing fails only once it is imported.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = (
    *("base-files", "libc6", "libgcc-s1", "libstdc++6", "libcrypt1", "zlib1g", "libexpat1", "libssl3", "libffi8"),
    *("libbz2-1.0", "liblzma5", "libuuid1", "media-types", "netbase", "tzdata"),
    *("libpython3.11-minimal", "libpython3.11-stdlib", "python3.11-minimal", "python3.11"),
)
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
LEFT_OUT = (
    *("/usr/share/doc/", "/usr/share/man/", "/usr/share/lintian/", "/usr/share/bug/", "/usr/share/locale/"),
    *(
        "/usr/share/applications/",
        "/usr/share/pixmaps/",
        "/usr/share/binfmts/",
        "/usr/share/python3",
        "/usr/share/base",
    ),
    *("/usr/lib/python3.11/lib2to3", "/usr/lib/python3.11/idlelib", "/usr/lib/python3.11/ensurepip"),
    *("/usr/lib/python3.11/pydoc_data", "/usr/lib/python3.11/turtle", "/usr/lib/python3.11/test"),
    *("/usr/lib/x86_64-linux-gnu/gconv/", "/usr/share/zoneinfo/right", "/usr/share/zoneinfo/posix"),
    *("/etc/update-motd.d", "/etc/issue", "/etc/motd", "/etc/dpkg", "/etc/profile", "/etc/skel", "/root", "/var"),
    *("/usr/bin/gapplication", "/usr/bin/pdb", "/usr/bin/pydoc", "/usr/bin/pygettext"),
)
EXTENSIONS = "python3.11/lib-dynload"
FOLDERS = ("tmp", "proc", "sys", "dev", "run", "opt", "home")
ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/:/nonexistent\npromptmesh:x:10001:10001::/home:/nonexistent\n",
    "etc/group": "root:x:0:\npromptmesh:x:10001:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}


def main(out: Path) -> None:
    for folder in ("usr/bin", "usr/lib", "usr/lib64", *FOLDERS):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "lib", "lib64"):
        (out / name).symlink_to(f"usr/{name}")
    for package in PACKAGES:
        for line in output("dpkg", "-L", package).splitlines():
            if not line.startswith(LEFT_OUT):
                copy(Path(line), out)
    for name, text in ACCOUNTS.items():
        (out / name).write_text(text)
    (out / "tmp").chmod(0o1777)
    copy(CERTIFICATES, out)
    (out / "usr/bin/python3").symlink_to("python3.11")
    for extension in sorted((out / "usr/lib" / EXTENSIONS).glob("*.so")):
        if missing(extension, out):
            extension.unlink()
    # For scanners: what of Debian is in here, in dpkg's own words.
    status = out / "var/lib/dpkg/status.d"
    status.mkdir(parents=True)
    for package in PACKAGES:
        (status / package).write_text(output("dpkg-query", "--status", package))


def copy(path: Path, out: Path) -> None:
    """A file or link, at the place where it truly stands (/lib is /usr/lib)."""
    place = path.parent.resolve() / path.name
    target = out / str(place).lstrip("/")
    if place.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_symlink() and not target.exists():
            target.symlink_to(place.readlink())
    elif place.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(place, target)


def missing(extension: Path, out: Path) -> bool:
    """Whether it needs a library that was not copied."""
    for line in output("ldd", str(extension)).splitlines():
        _, arrow, found = line.partition("=>")
        library = found.split("(")[0].strip()
        if arrow and (not library.startswith("/") or not (out / str(Path(library).resolve()).lstrip("/")).exists()):
            return True
    return False


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]))
