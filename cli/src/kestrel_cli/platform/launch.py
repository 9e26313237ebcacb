"""The first program in every child: what has to be done between fork and the real program, in a process of its own.

    python -I -S launch.py PARENT_PID DEATH_SIGNAL USER COMMAND...

It becomes another user (if USER is not empty) in that user's own groups: root's group would decide before "others" do,
and shut the folders that were opened for others. It asks the system for a signal when the parent dies, and then turns
into the command. Done here and not in a function that runs in the forked supervisor: gRPC's threads live there, and a
fork that runs Python code beside them aborts now and then. Imports nothing of ours.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, death_signal: int, user: str, command: list[str]) -> None:
    """Never returns: either this process is the command, or it has ended."""
    if user:
        entry = pwd.getpwnam(user)
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    if sys.platform == "linux":
        # After the change of user, which would clear it.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)  # the parent died before it could be asked for
    os.execv(command[0], command)  # noqa: S606 - the supervisor's own argument list


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
